/* status_line.h - one line of the history of a waiting message.
 * Form: `crc=XXXXXXXX time=N attempt=N next=N rcpt=N|all outcome=NAME note=WORD text=REST OF THE LINE`; what is 0 or empty is left out.  The
 * CRC covers everything behind its space, so a line that a crash cut short is never taken for another one.
 * Pure.
 */
#ifndef POSTERN_STATUS_LINE_H
#define POSTERN_STATUS_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ack.h"
#include "arena.h"
#include "buf.h"
#include "span.h"

#define SPOOL_STATUS_TEXT_CAP 512u

struct spool_status {
	int64_t time;               /* when, seconds since 1970 */
	uint32_t attempt;           /* attempts made so far, with this one */
	int64_t next_time;          /* when to try again */
	bool has_recipient;
	uint32_t recipient;         /* index; SPOOL_ACK_ALL = all */
	enum spool_outcome outcome; /* of that recipient */
	struct span text;           /* the reply or the error, cut at SPOOL_STATUS_TEXT_CAP */
	struct span note;           /* an event of the whole message in one word: "warned", "held", "released" */
};

/* Line with its LF. */
int spool_status_encode(const struct spool_status *status, struct buf *out);
/* One line without its LF; spans point into the arena.  ERR_CORRUPT. */
int spool_status_decode(struct span line, struct arena *arena, struct spool_status *out);

#endif
