/* check_run.h - one run of the external command: a process group of its own, its first words, its end.
 * The command gets: no standard input, both outputs into a pipe of ours (read to the end, of which the first line is kept), no other descriptor, PATH, LC_ALL
 * and TMPDIR and no other variable, default signals, the limits below.  It is run without a shell.
 * It ends, with all that is still in its session, at its time-out and when the run is destroyed; what it has left in the session dies with it.
 * Calls back: done, once, from check_run_exited, that is on the loop; not after destroy.
 */
#ifndef POSTERN_CHECK_RUN_H
#define POSTERN_CHECK_RUN_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "loop.h"

#define CHECK_SAID_CAP 200u

enum check_end {
	CHECK_EXITED,
	CHECK_SIGNALED,
	CHECK_TIMED_OUT,
	CHECK_NOT_STARTED, /* code: errno of execve() */
};

struct check_exit {
	enum check_end end;
	int code; /* exit status, signal or errno */
	uint64_t ms;
	char said[CHECK_SAID_CAP]; /* the first line of its output that is not empty, cut; not escaped */
};

struct check_run_options {
	struct loop *loop;
	char *const *words;    /* the first is the program, an absolute path */
	const char *tmp_dir;
	uint64_t timeout_ms;
	uint64_t file_bytes;   /* the largest file it may write */
};

struct check_run;
typedef void (*check_run_fn)(void *ctx, const struct check_exit *exit);

/* Options are read during the call only.  ERR_NOMEM, ERR_AGAIN: out of memory, processes or descriptors for the moment; why says of which. */
int check_run_start(const struct check_run_options *options, check_run_fn done, void *ctx, struct check_run **out, struct reason *why);

pid_t check_run_pid(const struct check_run *run);

/* Its process has this status from waitid(), and is not waited for yet (WNOWAIT): only so its group can be no other one.  Calls done. */
void check_run_exited(struct check_run *run, int wait_status);

/* Kills it if it still runs; its process is then nobody's, and to be waited for by the caller.  Accepts NULL, clears the pointer. */
void check_run_destroy(struct check_run **run);

#endif
