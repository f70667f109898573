/* Packets: any bytes are read within their bounds; what is shorter by a byte says the same or that it is cut; the refusal of what was read
 * is a packet that reads back. */
#include "packet.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "tarpit_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_refusal(const struct packet_tcp *segment)
{
	uint8_t wire[PACKET_ANSWER_CAP];
	struct packet_answer answer;
	struct packet_tcp back;
	if (!packet_refusal(segment, &answer))
		return;
	size_t len = packet_build(&answer, wire);
	require(len <= sizeof wire && packet_read((struct span){ (const char *)wire, len }, &back) == 0);
	require(endpoint_eq(&back.from, &segment->to) && endpoint_eq(&back.to, &segment->from) && back.flags & PACKET_RST);
	require(back.payload_bytes == 0 && back.is_whole && !packet_refusal(&back, &answer));
}

/* Who has not been answered gets nothing but an answer to his SYN; and his connection is found again. */
static void check_tarpit(const struct packet_tcp *segment)
{
	static const struct siphash_key key = { 1, 2 };
	struct packet_tcp next = *segment;
	struct packet_answer answer;
	if (tarpit_answer(&key, segment, &answer) != TARPIT_SYN)
		return;
	require(answer.ack == segment->seq + 1 && answer.payload.len == 0);
	next.flags = PACKET_ACK;
	next.seq++;
	next.ack = answer.seq + 1;
	require(tarpit_answer(&key, &next, &answer) == TARPIT_HELD && answer.payload.len <= PACKET_PAYLOAD_CAP);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct packet_tcp whole, cut;
	struct span head = { (const char *)bytes, size };
	int err = packet_read(head, &whole);
	if (err)
		return 0;
	require(whole.from.addr.family == whole.to.addr.family && whole.payload_bytes <= 65535);
	check_refusal(&whole);
	check_tarpit(&whole);
	head.len--;
	err = packet_read(head, &cut);
	require(err == ERR_EOF || (err == 0 && endpoint_eq(&cut.from, &whole.from) && cut.seq == whole.seq && cut.flags == whole.flags));
	return 0;
}
