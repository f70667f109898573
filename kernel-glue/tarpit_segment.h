/* tarpit_segment.h - how a TCP connection is held without knowing of it: what to answer to a segment, from that segment alone.
 * Our sequence number is a keyed hash of the ends and of the peer's first sequence number, so that later segments show whether they belong to
 * a connection that we answered, and how far it is.  The peer gets a greeting and a window of TARPIT_WINDOW bytes; when these are filled the
 * window is closed, and stays so: the peer's own system asks again and again whether it has opened (RFC 9293 section 3.8.6.1), for as long
 * as its program has patience.
 * Pure: no state, no memory.  Each segment gets at most one, so that nobody can be made to talk to anybody.
 */
#ifndef POSTERN_TARPIT_SEGMENT_H
#define POSTERN_TARPIT_SEGMENT_H

#include "packet.h"
#include "siphash.h"

/* "EHLO" fits in and its name does not. */
#define TARPIT_WINDOW 4u

enum tarpit_kind {
	TARPIT_NOTHING, /* no answer: not ours, at its end, or nothing to say */
	TARPIT_SYN,     /* the answer to a SYN, whose sender may be anybody: to be limited in number */
	TARPIT_HELD     /* to somebody who got our answer to a SYN, so who really is there */
};

enum tarpit_kind tarpit_answer(const struct siphash_key *key, const struct packet_tcp *segment, struct packet_answer *out);

#endif
