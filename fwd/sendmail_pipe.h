/* sendmail_pipe.h - delivery by a program: `PROG -f SENDER RECIPIENT...`, the message as native lines on its standard input.
 * At most 100 recipients a call; a message with more takes several calls in a row.  The exit status of a call counts for all its
 * recipients, and no call is made again for some of them: a program that had delivered to the others would send them copies.
 * Exit status (sysexits.h): 0 delivered; the transient ones, and signals: try again; those that say that the program can't work here at
 * all, and a program that can't be started: attempt.is_our_fault; else the recipients failed.  A 0 that came before the program had
 * read everything does not count.
 * Owns: the child and the pipes.  Borrows: the attempt.
 */
#ifndef POSTERN_SENDMAIL_PIPE_H
#define POSTERN_SENDMAIL_PIPE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attempt.h"
#include "err.h"
#include "loop.h"

#define SENDMAIL_RECIPIENTS_MAX 100u

struct sendmail_pipe;

struct sendmail_options {
	struct loop *loop;
	const char *program;
	uint64_t timeout_ms; /* without any progress; then the child is killed */
};

/* done runs once on the loop, every recipient settled; destroy then. */
typedef void (*sendmail_done_fn)(void *ctx, struct attempt *a);
int sendmail_pipe_start(const struct sendmail_options *options, struct attempt *a, sendmail_done_fn done, void *ctx,
			struct sendmail_pipe **out);

/* Kills the child if it still runs. */
void sendmail_pipe_destroy(struct sendmail_pipe **pipe);

pid_t sendmail_pipe_pid(const struct sendmail_pipe *pipe); /* 0: none */
/* SIGCHLD: the child of that pid ended with this status (as from waitpid). */
void sendmail_pipe_exited(struct sendmail_pipe *pipe, int status);

/* Pure: what an exit status means.  is_broken_out: for every message, until an operator has mended it. */
enum spool_outcome sendmail_outcome(int wait_status, bool *is_broken_out);

#endif
