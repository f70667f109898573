/* fault.h - named points at which a test makes the way of the mail fail: in spool/, and in fwd/ what lies between two of its steps.
 * Always compiled in, off unless the environment arms one: POSTERN_FAULT=POINT:ACTION[@N], ACTION = kill, kill=MS, eio, enospc, skip or delay=MS;
 * N = only from the N-th time on (1 when left out).  With eio and enospc the system call at that point is not made and fails;
 * from then on it fails each time.  kill is SIGKILL, a power cut for the process; kill=MS keeps the thread waiting before, while the
 * others do whatever they believe to be next.  skip, only in place of a sync: it is left out
 * and counts as done, so that a test can show that it would have noticed.
 * The crash test kills at each point of this list; one that its workload does not reach fails it.
 */
#ifndef POSTERN_FAULT_H
#define POSTERN_FAULT_H

#define SPOOL_FAULTS(X)                                                                                                              \
	X(JOURNAL_BEFORE_WRITE, "journal-before-write")     /* a batch is ready, nothing written */                                   \
	X(JOURNAL_WRITE, "journal-write")                   /* in place of the write: after half of the first record */               \
	X(JOURNAL_AFTER_WRITE, "journal-after-write")       /* written, not synced */                                                 \
	X(JOURNAL_SYNC, "journal-sync")                     /* in place of the sync */                                                \
	X(JOURNAL_AFTER_SYNC, "journal-after-sync")         /* on disk, nobody told */                                                \
	X(JOURNAL_TRUNCATE, "journal-truncate")             /* in place of taking a failed batch back */                              \
	X(LARGE_WRITE, "large-write")                                                                                                 \
	X(LARGE_SYNC, "large-sync")                                                                                                   \
	X(LARGE_AFTER_SYNC, "large-after-sync")             /* body on disk, no record names it */                                    \
	X(LARGE_REMOVE, "large-remove")                     /* nothing names the body any more, it is still there */                  \
	X(SEGMENT_CREATE, "segment-create")                 /* also of large bodies */                                                \
	X(SEGMENT_NAMED, "segment-named")                   /* has its name, directory not synced */                                  \
	X(SEGMENT_PREPARE, "segment-prepare")               /* in place of filling a part of it with zeros */                         \
	X(PREPARE_SYNC, "prepare-sync")                                                                                               \
	X(DIR_SYNC, "dir-sync")                             /* in place of the sync of any directory */                               \
	X(ACK_CREATE, "ack-create")                         /* in place of opening or creating the file */                            \
	X(ACK_WRITE, "ack-write")                                                                                                     \
	X(ACK_TORN, "ack-torn")                             /* half of an entry is written */                                         \
	X(ACK_SYNC, "ack-sync")                                                                                                       \
	X(ACK_AFTER_SYNC, "ack-after-sync")                                                                                           \
	X(QUEUE_WRITE, "queue-write")                                                                                                 \
	X(QUEUE_TORN, "queue-torn")                         /* the header is written, nothing behind it */                            \
	X(QUEUE_SYNC, "queue-sync")                                                                                                   \
	X(QUEUE_BEFORE_LINK, "queue-before-link")           /* complete under its temporary name */                                   \
	X(QUEUE_AFTER_LINK, "queue-after-link")             /* in queue/, directory not synced */                                     \
	X(QUEUE_AFTER_SYNC, "queue-after-sync")             /* durable, not acknowledged in the journal */                            \
	X(QUEUE_APPEND, "queue-append")                                                                                               \
	X(QUEUE_APPEND_TORN, "queue-append-torn")           /* half of the lines are written */                                       \
	X(QUEUE_AFTER_APPEND, "queue-after-append")         /* the lines are durable, nothing else has happened */                    \
	X(QUEUE_MOVE, "queue-move")                         /* between queue/ and hold/ */                                            \
	X(QUEUE_MOVED, "queue-moved")                       /* directories not synced */                                              \
	X(QUEUE_REMOVE, "queue-remove")                                                                                               \
	X(QUEUE_REMOVED, "queue-removed")                   /* its large body is still there */                                       \
	X(BAD_WRITE, "bad-write")                           /* in place of copying a broken span */                                   \
	X(BAD_SYNC, "bad-sync")                                                                                                       \
	X(BAD_MOVE, "bad-move")                             /* in place of moving a broken file to bad/ */                            \
	X(RECYCLE_BEFORE, "recycle-before")                                                                                           \
	X(RECYCLE_UNLINKED, "recycle-unlinked")             /* segment gone, directory not synced */                                  \
	X(RECYCLE_BETWEEN, "recycle-between")               /* segment gone, acknowledgements still there */                          \
	X(RECOVER_SEGMENT, "recover-segment")               /* one segment is read, nothing of it noted */                            \
	X(RECOVER_WAITING, "recover-waiting")               /* one file of queue/ or hold/ is read */                                 \
	X(RECOVER_SWEEP, "recover-sweep")                   /* everything is read, nothing swept */                                   \
	X(SWEEP_TEMPORARY, "sweep-temporary")               /* before an unfinished file of queue/ is removed */                      \
	X(SWEEP_ACK, "sweep-ack")                           /* before acknowledgements without a segment are removed */               \
	X(SWEEP_LARGE, "sweep-large")                       /* before a body that no record names is removed */                       \
	X(FWD_ATTEMPTED, "fwd-attempted")                   /* the server has answered for all recipients, nothing noted */           \
	X(FWD_REPORT_WRITTEN, "fwd-report-written")         /* a report is durable, its recipients do not count as failed */          \
	X(FWD_ITEM_WRITTEN, "fwd-item-written")             /* what became of a message is durable in queue/ or hold/, not in ack/ */

#define SPOOL_FAULT_EXIT 137 /* status of a process that may not send itself SIGKILL */

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

/* fdatasync of a file, fsync of a directory (SPOOL_FAULT_DIR_SYNC): 0 or an errno value. */
int spool_fault_sync(enum spool_fault_point point, int fd);
int spool_fault_sync_dir(int dirfd);

#endif
