/* writer_parts.h - what the files of the writer share: writer.c (life, requests, calls), lanes.c (segments and batches), txn.c (one transaction), large_body.c (bodies in
 * files of their own).  Only for them.
 */
#ifndef POSTERN_WRITER_PARTS_H
#define POSTERN_WRITER_PARTS_H

#include "batch.h"
#include "buf.h"
#include "writer.h"

#define LARGE_CHUNK (256u << 10)
#define LARGE_ASKED_MAX 32 /* files asked for at a time; whoever gives them need not expect more */
#define LARGE_JOBS_MAX 2

enum txn_stage {
	TXN_MEMORY,  /* the whole body is in memory */
	TXN_ASKING,  /* over the limit: a file was asked for */
	TXN_LARGE,   /* streams into its file */
	TXN_QUEUED,  /* waits for the next batch */
	TXN_BATCH,   /* is being written */
	TXN_FINISHED /* waits for its done call */
};

struct txn_list {
	struct spool_txn *head, *tail;
	size_t count;
};

struct spool_txn {
	struct spool_writer *writer;
	struct spool_txn *prev, *next; /* in the list of its stage */
	struct txn_list *list;         /* NULL: in none */
	enum txn_stage stage;
	int err;               /* sticky */
	bool is_committing;    /* commit was called */
	bool is_silent;        /* aborted: nobody to call */
	bool is_waiting;       /* append, settle or rewind returned STEP_WAIT */
	bool is_settling;      /* all of the body is to go where it can be read, without waiting for more of it */
	struct buf body;       /* not yet written */
	struct buf envelope;
	uint64_t size_bytes;
	uint64_t asked_ms;
	spool_drained_fn drained;
	void *drained_ctx;
	spool_done_fn done;
	void *done_ctx;
	struct spool_batch_item item; /* also holds id, and length and CRC of a large body */
	struct large_body {
		int fd;
		bool is_in_job, is_in_line;
		bool wants_sync, is_synced; /* in the job and from it */
		bool wants_discard;
		bool wants_rewind;
		struct buf flight;
		int job_err;
		struct spool_txn *next; /* in line for a job */
	} large;
};

struct segment {
	int fd; /* -1: none */
	struct spool_segment_name name;
	uint64_t offset;
	uint64_t prepared; /* bytes of zeros that were there when we got it */
};

struct lane {
	struct spool_writer *writer;
	struct segment now, next;
	bool has_asked_early;     /* for a prepared one, in place of the first */
	bool is_running;          /* its batch */
	uint64_t used_ms;         /* the end of its last one */
	struct txn_list in_batch;
	struct spool_batch batch;
};

struct spool_writer {
	struct loop *loop;
	struct spool_writer_options options;
	struct spool_writer_events events;
	struct loop_task turn;    /* begins a batch, makes the calls that are due */
	struct loop_timer *watch; /* while anything is asked for */

	struct lane lanes[SPOOL_LANES_MAX]; /* the first is always in use */
	struct loop_timer *pace;      /* until the next lane may begin */
	struct loop_timer *rest;      /* while further lanes have segments: */
	bool is_rest_due;
	uint64_t last_begin_us;       /* of a batch */
	uint64_t sync_avg_us;         /* of late */
	bool is_asked;                /* for a segment, for asking_lane */
	bool is_asking_due;           /* need_segment is to be called */
	struct lane *asking_lane;     /* also who a late answer is for */
	uint64_t asked_ms, denied_until_ms;

	struct txn_list open, asking_due, asking, queued, finished;
	struct spool_txn *line_head, *line_tail; /* large bodies that want a job */
	unsigned large_jobs;

	bool is_closing;
	loop_fn destroyed;
	void *destroyed_ctx;
	struct spool_writer_stats stats;
};

/* writer.c */
void writer_turn_soon(struct spool_writer *w);
void writer_watch(struct spool_writer *w);

/* lanes.c */
void lanes_open(struct spool_writer *w);
void lanes_turn(struct spool_writer *w); /* begin what can begin */
bool lanes_are_idle(const struct spool_writer *w);
void lanes_rest(void *ctx); /* the timer's, of the writer: seal what is not used any more */
void lanes_close(struct spool_writer *w);

/* txn.c */
void txn_move(struct spool_txn *txn, struct txn_list *list); /* NULL: out of all */
void txn_finish(struct spool_txn *txn, int err);             /* done is called on the next turn; silent ones are freed */
void txn_free(struct spool_txn *txn);

/* large_body.c */
void large_body_ask(struct spool_txn *txn);
void large_body_given(struct spool_txn *txn, int fd); /* -1: none, and txn->err says why */
void large_body_step(struct spool_txn *txn); /* something has changed: write, sync, queue or give up, whatever is next */

#endif
