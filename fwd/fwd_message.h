/* fwd_message.h - what the forwarder remembers of a message between two attempts: where it lies, where it goes, when.
 * Everything else (envelope, recipients, replies so far) is on disk and read again when an attempt starts, so a waiting message
 * costs about 140 bytes: 128 here with what malloc takes, and its share of the table.
 * A table finds them by id.  Owns: the messages in it.
 */
#ifndef POSTERN_FWD_MESSAGE_H
#define POSTERN_FWD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "envelope.h"
#include "message_id.h"
#include "queue_file.h"

struct destination;
struct segment;

enum fwd_state {
	FWD_READY,    /* in its destination's line */
	FWD_ACTIVE,   /* an attempt is under way */
	FWD_SETTLING, /* its outcome is being written to disk */
	FWD_WAITING,  /* until next_time */
	FWD_HELD      /* until the administrator releases it */
};

/* Each byte counts a hundred thousand times: the order of the members leaves no hole. */
struct fwd_message {
	struct spool_id id;
	uint8_t state;              /* enum fwd_state */
	bool is_large : 1;          /* the body is large/ID */
	bool is_warned : 1;         /* the sender was told of the delay */
	uint16_t attempts;
	uint16_t recipients;        /* still to do */
	uint16_t outcome_count;
	uint32_t length;            /* of the record in its segment */
	uint32_t route_generation;  /* of the configuration that chose the destination */
	struct segment *segment;    /* NULL: queue/ID, or hold/ID while held */
	uint64_t offset;            /* of the record in its segment */
	uint64_t size_bytes;
	int64_t accepted_time;
	int64_t next_time;          /* FWD_WAITING; FWD_READY: since when */
	struct destination *destination;
	struct fwd_message *heap_child, *heap_prev, *heap_next; /* message_heap.h: FWD_WAITING, FWD_READY */
	struct fwd_message *hash_next;
	enum spool_outcome *outcomes; /* owned; NULL: all recipients of the record are still to do */
};
_Static_assert(SPOOL_RECIPIENTS_CAP <= UINT16_MAX && sizeof(struct fwd_message) <= 120, "what docs say of memory");

const char *fwd_state_name(enum fwd_state state);

/* Where its file is, when it has one. */
static inline enum spool_place fwd_message_place(const struct fwd_message *m)
{
	return m->state == FWD_HELD ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE;
}

struct fwd_table {
	struct fwd_message **slots;
	size_t room, count;
};

/* A new zeroed message under that id.  ERR_BUSY: it is there already; ERR_NOMEM. */
int fwd_table_add(struct fwd_table *table, const struct spool_id *id, struct fwd_message **out);
struct fwd_message *fwd_table_find(const struct fwd_table *table, const struct spool_id *id);
/* Takes it out and frees it. */
void fwd_table_remove(struct fwd_table *table, struct fwd_message *message);
void fwd_table_free(struct fwd_table *table);

#endif
