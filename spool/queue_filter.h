/* queue_filter.h - which of the waiting messages somebody means: what `postern queue` takes as --from, --older and so on.
 * Travels as one line of key=value pairs (kv.h):
 *   from= to= destination= client= error=   a pattern     older= younger=   seconds     larger= smaller=   bytes
 *   state=NAME   verb=hold|release|retry|delete: only messages to which that can be done
 * Different keys must all be met, of the same key one suffices.  No key: every message.
 * A pattern: * stands for any text, ? for one character, without regard to case.  from, to: with an @ (or <>, the null sender) the
 * whole address, else its domain.  client: an address, a network (192.0.2.0/24), or a pattern for its name.  destination: as listings
 * show it, or the server alone, or that without its port.
 * Pure; the line is treated as hostile.
 */
#ifndef POSTERN_QUEUE_FILTER_H
#define POSTERN_QUEUE_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "envelope.h"
#include "err.h"
#include "span.h"

#define QUEUE_FILTER_ITEMS_CAP 64
#define QUEUE_FILTER_TEXT_CAP 4096u

struct queue_filter_item {
	uint8_t key;
	bool is_network;       /* client: compare with the address */
	uint16_t at, len;      /* of the pattern in text */
	struct cidr network;
};

struct queue_filter {
	struct queue_filter_item items[QUEUE_FILTER_ITEMS_CAP];
	size_t count;
	unsigned keys;         /* bit set of those that occur */
	int64_t older_s, younger_s;
	uint64_t larger_bytes, smaller_bytes;
	char text[QUEUE_FILTER_TEXT_CAP];
	size_t text_len;
};

/* ERR_SYNTAX with the reason in words for the one who typed it. */
int queue_filter_parse(struct span line, struct queue_filter *out, struct reason *why);

/* Two halves: what the forwarder has in memory, and what it must read.  A message is meant when both say so. */
struct queue_filter_facts {
	int64_t age_s;
	uint64_t size_bytes;
	struct span state, destination;
};
bool queue_filter_takes(const struct queue_filter *filter, const struct queue_filter_facts *facts);

/* false: the second half takes every message, nothing needs to be read. */
bool queue_filter_needs_envelope(const struct queue_filter *filter);
/* error: the last one, may be empty. */
bool queue_filter_takes_envelope(const struct queue_filter *filter, const struct spool_envelope *envelope, struct span error);
/* To be asked for each recipient that is still to do; one that is taken suffices. */
bool queue_filter_takes_recipient(const struct queue_filter *filter, struct span path);

#endif
