/* spool_fixture.h - a spool in a temporary directory, and a writer whose wishes are met, for the tests of spool/.
 */
#ifndef POSTERN_SPOOL_FIXTURE_H
#define POSTERN_SPOOL_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "recovery.h"
#include "writer.h"

struct spool_fixture {
	char path[64];
	struct spool_dirs dirs;
};

void spool_fixture_make(struct spool_fixture *fixture);
void spool_fixture_remove(struct spool_fixture *fixture);

/* What a master and a session do for a writer. */
struct writer_host {
	struct spool_dirs *dirs;
	struct loop *loop;
	struct spool_writer *writer;
	struct spool_id_source ids;
	struct spool_committed last; /* the last announcement */
	unsigned announced, sealed, voided;
	unsigned done, failed;
	int last_err;
	unsigned expected;           /* stop the loop at so many done calls */
	bool has_no_segment, has_no_large;
	uint64_t prepare_bytes;      /* segments begin with so many zeros (spool_segment_prepare) */
	uint64_t zero_bytes;         /* the same to a reader, and quicker to make */
};

void writer_host_make(struct writer_host *host, struct spool_dirs *dirs, const struct spool_writer_options *options);
void writer_host_remove(struct writer_host *host); /* runs the loop until the writer is gone */

/* An envelope with so many recipients; static storage. */
const struct spool_envelope *sample_envelope(unsigned recipients);

/* Begin a transaction with this body, all of it appended (body must be under the inline limit), and commit it. */
void writer_host_send(struct writer_host *host, struct span body);
/* Run until that many done calls came (since the last run). */
void writer_host_run(struct writer_host *host, unsigned expected);

/* What a recovery finds. */
struct recovered {
	unsigned messages, broken, torn, voided, segments, live, in_queue;
	uint64_t unsettled;
	char bodies[64][40];         /* the first bytes of each body, in the order found */
	struct spool_id ids[64];
	uint64_t offsets[64];
	uint64_t torn_length;
	struct spool_dirs *dirs;
};

void recover(struct spool_dirs *dirs, struct recovered *out);

/* All steps of a recovery with these events. */
int recover_with(const struct spool_dirs *dirs, const struct spool_recovery_events *events);

#endif
