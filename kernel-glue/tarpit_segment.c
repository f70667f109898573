#include "tarpit_segment.h"

#include <string.h>

#define MSS 536u

/* True of any mail server, and no name in it. */
static const char greeting[] = "220 ESMTP\r\n";
#define GREETING_LEN ((uint32_t)sizeof greeting - 1)

static uint32_t cookie(const struct siphash_key *key, const struct packet_tcp *segment, uint32_t peer_first)
{
	uint8_t bytes[2 * 16 + 2 * 2 + 4];
	const uint16_t ports[2] = { segment->from.port, segment->to.port };
	memcpy(bytes, segment->from.addr.bytes, 16);
	memcpy(bytes + 16, segment->to.addr.bytes, 16);
	memcpy(bytes + 32, ports, 4);
	memcpy(bytes + 36, &peer_first, 4);
	return (uint32_t)siphash(key, bytes, sizeof bytes);
}

static void answer_to(const struct packet_tcp *segment, uint8_t flags, struct packet_answer *out)
{
	*out = (struct packet_answer){ .from = segment->to, .to = segment->from, .flags = flags };
}

/* The peer has sent at most TARPIT_WINDOW bytes, so its first number is one of a few: the one that explains what it acknowledges.
 * position: of the segment's first byte in what the peer says; -1 is a question whether the window is open, behind nothing. */
static bool find_connection(const struct siphash_key *key, const struct packet_tcp *segment, uint32_t *our_first, int *position)
{
	for (int at = -1; at <= (int)TARPIT_WINDOW; at++) {
		uint32_t ours = cookie(key, segment, segment->seq - 1 - (uint32_t)at);
		/* Our first byte of data is ours + 1. */
		if (segment->ack - ours - 1 <= GREETING_LEN) {
			*our_first = ours;
			*position = at;
			return true;
		}
	}
	return false;
}

/* What they have said by now, as far as we take it; or less than nothing when there is no need for an answer. */
static int taken(const struct packet_tcp *segment, int position)
{
	const int window = (int)TARPIT_WINDOW;
	/* Behind nothing: is anybody there?  (RFC 9293 section 3.8.4) */
	if (position < 0)
		return 0;
	/* Linux asks for the window with a number that is acknowledged already. */
	if (segment->payload_bytes == 0)
		return position == window - 1 ? window : -1;
	return segment->payload_bytes >= (uint32_t)(window - position) ? window : position + (int)segment->payload_bytes;
}

enum tarpit_kind tarpit_answer(const struct siphash_key *key, const struct packet_tcp *segment, struct packet_answer *out)
{
	uint32_t ours;
	int position;
	if (segment->flags & (PACKET_RST | PACKET_FIN))
		return TARPIT_NOTHING;
	if ((segment->flags & (PACKET_SYN | PACKET_ACK)) == PACKET_SYN) {
		answer_to(segment, PACKET_SYN | PACKET_ACK, out);
		out->seq = cookie(key, segment, segment->seq);
		out->ack = segment->seq + 1;
		out->window = TARPIT_WINDOW;
		out->mss = MSS;
		return TARPIT_SYN;
	}
	if ((segment->flags & (PACKET_SYN | PACKET_ACK)) != PACKET_ACK || !find_connection(key, segment, &ours, &position))
		return TARPIT_NOTHING;
	const uint32_t heard = segment->ack - ours - 1;
	answer_to(segment, PACKET_ACK, out);
	out->seq = ours + 1 + GREETING_LEN;
	if (heard == 0 && segment->payload_bytes == 0 && position == 0) {
		out->seq = ours + 1;
		out->ack = segment->seq;
		out->flags |= PACKET_PSH;
		out->window = TARPIT_WINDOW;
		out->payload = (struct span){ greeting, GREETING_LEN };
		return TARPIT_HELD;
	}
	int said = taken(segment, position);
	if (said < 0)
		return TARPIT_NOTHING;
	out->ack = segment->seq - (uint32_t)position + (uint32_t)said;
	out->window = (uint16_t)(TARPIT_WINDOW - (unsigned)said);
	/* Who never heard the greeting would take what is behind it for a gap. */
	if (heard < GREETING_LEN)
		out->seq = segment->ack;
	return TARPIT_HELD;
}
