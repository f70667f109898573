/* Messages of connection tracking: any bytes are read within their bounds; what is read can be asked for. */
#include "conntrack_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char question[CONNTRACK_QUESTION_CAP] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct conntrack_flow flow;
	struct nlmsghdr *message = malloc(size + sizeof *message);
	if (!message || size < sizeof *message) {
		free(message);
		return 0;
	}
	memcpy(message, bytes, size);
	message->nlmsg_len = (uint32_t)size; /* as libmnl has checked it */
	if (conntrack_message_read(message, &flow) == 0) {
		bool is_one_family = flow.orig.src.addr.family == flow.orig.dst.addr.family;
		if ((conntrack_question_build(CONNTRACK_DELETE, &flow.orig, false, question) == 0) != is_one_family)
			abort();
		if (flow.orig.src.addr.family == ADDR_NONE || flow.reply.dst.addr.family == ADDR_NONE)
			abort();
	}
	free(message);
	return 0;
}
