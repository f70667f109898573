/* fault.h - named points at which a test makes the spool fail.
 * Always compiled in, off unless the environment arms one: POSTERN_FAULT=POINT:ACTION[@N], ACTION = kill, eio, enospc or delay=MS;
 * N = only from the N-th time on (1 when left out).  With eio and enospc the system call at that point is not made and fails;
 * from then on it fails each time.  kill is SIGKILL, a power cut for the process.
 */
#ifndef POSTERN_FAULT_H
#define POSTERN_FAULT_H

#define SPOOL_FAULTS(X)                                                                                                              \
	X(JOURNAL_BEFORE_WRITE, "journal-before-write")   /* a batch is ready, nothing written */                                    \
	X(JOURNAL_WRITE, "journal-write")                 /* in place of the write: after half of the first record */               \
	X(JOURNAL_AFTER_WRITE, "journal-after-write")     /* written, not synced */                                                  \
	X(JOURNAL_SYNC, "journal-sync")                   /* in place of the sync */                                                 \
	X(JOURNAL_AFTER_SYNC, "journal-after-sync")       /* on disk, nobody told */                                                 \
	X(JOURNAL_TRUNCATE, "journal-truncate")           /* in place of taking a failed batch back */                               \
	X(LARGE_WRITE, "large-write")                                                                                                \
	X(LARGE_SYNC, "large-sync")                                                                                                  \
	X(LARGE_AFTER_SYNC, "large-after-sync")           /* body on disk, no record names it */                                     \
	X(SEGMENT_CREATE, "segment-create")                                                                                          \
	X(ACK_WRITE, "ack-write")                                                                                                    \
	X(ACK_SYNC, "ack-sync")                                                                                                      \
	X(ACK_AFTER_SYNC, "ack-after-sync")                                                                                          \
	X(QUEUE_WRITE, "queue-write")                                                                                                \
	X(QUEUE_SYNC, "queue-sync")                                                                                                  \
	X(QUEUE_BEFORE_LINK, "queue-before-link")         /* complete under its temporary name */                                    \
	X(QUEUE_AFTER_LINK, "queue-after-link")           /* in queue/, directory not synced */                                      \
	X(QUEUE_APPEND, "queue-append")                                                                                              \
	X(QUEUE_MOVE, "queue-move")                                                                                                  \
	X(QUEUE_REMOVE, "queue-remove")                                                                                              \
	X(RECYCLE_BEFORE, "recycle-before")                                                                                          \
	X(RECYCLE_BETWEEN, "recycle-between")             /* segment gone, acknowledgements still there */

enum spool_fault_point {
#define X(id, name) SPOOL_FAULT_##id,
	SPOOL_FAULTS(X)
#undef X
	SPOOL_FAULT_COUNT
};

/* Read the environment: before any other thread and before privileges are dropped.  ERR_SYNTAX when the variable names nothing known
 * (start-up should stop: a test that tests nothing is worse than none). */
int spool_fault_prepriv(void);

/* Arm from code; spec NULL disarms.  For unit tests. */
int spool_fault_arm(const char *spec);

const char *spool_fault_name(enum spool_fault_point point);

/* The armed point, or SPOOL_FAULT_COUNT.  Only for spool_fault() below. */
extern enum spool_fault_point spool_fault_armed;
int spool_fault_strike(void);

/* 0, or the errno value that the system call here has to fail with. */
static inline int spool_fault(enum spool_fault_point point)
{
	return __builtin_expect(point == spool_fault_armed, 0) ? spool_fault_strike() : 0;
}

#endif
