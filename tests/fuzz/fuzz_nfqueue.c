/* Netlink messages of NFQUEUE: any bytes are read within their bounds; the head of a packet lies in the message, and the packet reader bears it. */
#include "nfqueue_message.h"

#include <stdlib.h>
#include <string.h>

#include "packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct nfqueue_packet packet;
	struct packet_tcp tcp;
	int errnum = -1;
	char *aligned = malloc(size + 1);
	if (!aligned)
		return 0;
	memcpy(aligned, bytes, size);
	switch (nfqueue_message_read((struct span){ aligned, size }, &packet, &errnum)) {
	case NFQUEUE_PACKET:
		if (packet.head.len && (packet.head.ptr < aligned || packet.head.ptr + packet.head.len > aligned + size))
			abort();
		(void)packet_read(packet.head, &tcp);
		break;
	case NFQUEUE_ACK:
		if (errnum < 0)
			abort();
		break;
	case NFQUEUE_OTHER: break;
	}
	free(aligned);
	return 0;
}
