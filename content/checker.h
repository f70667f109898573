/* checker.h - runs the external command over messages: so many at once, the others wait in a line; each within its time.
 * Who asks is an owner (a number, 0 to CHECKER_OWNERS_MAX - 1) with tickets of his own.  Every question is answered once, unless it is cancelled.
 * A question waits at most for as long as the command itself may take, so an answer comes within two time-outs and a moment for the disk.
 * Calls back: on the loop; answer also from inside checker_ask, where the line is full.  Never blocks the loop: files are made and read in jobs.
 * Must be the only one in its process that waits for children.
 */
#ifndef POSTERN_CHECKER_H
#define POSTERN_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check_run.h"
#include "conf.h"
#include "loop.h"

#define CHECKER_OWNERS_MAX 64u
#define CHECKER_WAITING_MAX 100u /* beyond, the answer is CHECKER_BUSY at once */
#define CHECKER_JOBS_MAX 100u
#define CHECKER_HEADER_ROOM 65536u /* that a command may add to a message of the largest size */

enum checker_result {
	CHECKER_ACCEPT,   /* exit status 0 */
	CHECKER_REJECT,   /* exit status 1 */
	CHECKER_RETRY,    /* any other exit status */
	CHECKER_KILLED,   /* by a signal */
	CHECKER_TIMEOUT,  /* of the command */
	CHECKER_BUSY,     /* too many wait, or this one has waited too long */
	CHECKER_FAILED,   /* the command could not be run over it, or left no message: why */
	CHECKER_RESULT_COUNT
};

const char *checker_result_name(enum checker_result result);

/* Holds no pointers: it is sent between processes. */
struct checker_answer {
	uint64_t ticket;
	int32_t result; /* enum checker_result */
	int32_t code;   /* exit status or signal */
	uint64_t ms;    /* that the command ran */
	uint64_t changed_len; /* of the changed message in wire form, whose descriptor comes along; 0: it is as it was */
	char said[CHECK_SAID_CAP]; /* what the command said in its first line, or why it failed; not escaped */
};

struct checker_options {
	char command[CONF_COMMAND_CAP]; /* words with blanks between them; the first is an absolute path */
	char dir[CONF_PATH_CAP];              /* where the files are, as the command sees it */
	uint64_t timeout_ms;
	uint64_t jobs;      /* commands at once: 1 to CHECKER_JOBS_MAX */
	uint64_t max_bytes; /* of a message that the command leaves */
};

/* changed_fd: a memory file, or -1; the receiver's. */
typedef void (*checker_answer_fn)(void *ctx, uint32_t owner, const struct checker_answer *answer, int changed_fd);

struct checker;

/* place_fd: of check_place_open, borrowed.  children_fd: /proc/self/task/TID/children of the calling thread, borrowed, by which processes are found that have
 * left the command's session; -1: they are not.  idle: whenever nothing is left to do. */
int checker_create(struct loop *loop, int place_fd, int children_fd, const struct checker_options *options, checker_answer_fn answer, loop_fn idle, void *ctx,
		   struct checker **out);

/* For runs that start from here on. */
void checker_set_options(struct checker *checker, const struct checker_options *options);

/* A message of wire_len bytes in wire form in wire_fd, from its beginning, and a packet of check_args.h in args_fd: files that can't be waited for, both
 * given over in any case. */
void checker_ask(struct checker *checker, uint32_t owner, uint64_t ticket, uint64_t wire_len, int wire_fd, int args_fd);
void checker_cancel(struct checker *checker, uint32_t owner, uint64_t ticket);

/* All of his; nothing is answered any more. */
void checker_forget(struct checker *checker, uint32_t owner);

bool checker_is_idle(const struct checker *checker);

/* Nothing may be left to do. */
void checker_destroy(struct checker **checker);

#endif
