/* message_id.h - the name of a message: in the journal, in queue/, in large/, in the Received header, in every log line.
 * Form: 14 characters of 0-9 a-z without i l o u (five bits each): 44 bits of milliseconds since 1970, 10 bits of worker, 16 bits of
 * counter.  So ids sort by time as text, and two writers never give the same one.  It is a safe file name.
 * Promise: a source never repeats an id while the clock runs; a restarted source starts at a random counter.  Files are created
 * with O_EXCL or renamed without replacing all the same.
 */
#ifndef POSTERN_MESSAGE_ID_H
#define POSTERN_MESSAGE_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

#define SPOOL_ID_LEN 14
#define SPOOL_ID_WORKER_MAX 1023u
#define SPOOL_ID_WORKER_FWD 1023u /* the forwarder's own messages: bounces */

struct spool_id {
	char text[SPOOL_ID_LEN + 1]; /* terminated */
};

struct spool_id_source {
	uint64_t last_ms;
	unsigned worker;
	uint16_t counter;
	uint16_t left; /* ids left in last_ms */
};

/* worker is cut to ten bits. */
void spool_id_source_init(struct spool_id_source *source, unsigned worker);
struct spool_id spool_id_next(struct spool_id_source *source);

/* Exactly one well-formed id: ERR_SYNTAX otherwise. */
int spool_id_parse(struct span text, struct spool_id *out);

bool spool_id_eq(const struct spool_id *a, const struct spool_id *b);
uint64_t spool_id_time_ms(const struct spool_id *id);
unsigned spool_id_worker(const struct spool_id *id);

#endif
