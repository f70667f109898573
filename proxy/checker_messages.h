/* checker_messages.h - what master, checker and session workers say to each other (lib/ipc).
 * Master and checker have one socketpair, worker and checker another, of which the master hands an end to both.  At its start the checker gets SETUP, and
 * answers READY or START_FAILED.  The receiver checks sizes and contents.
 */
#ifndef POSTERN_CHECKER_MESSAGES_H
#define POSTERN_CHECKER_MESSAGES_H

#include <stdint.h>

#include "checker.h"
#include "priv.h"

#define CHECKER_ROLE_ARG "--role=checker"
#define CHECKER_ALIVE_MS 2000u

enum checker_message {
	/* master to checker */
	CHECKER_SETUP = 64, /* struct checker_setup; descriptor: the directory of its chroot */
	CHECKER_OPTIONS,    /* struct checker_options: after a reload */
	CHECKER_LINK,       /* struct checker_link_to; descriptor: the channel of that worker, in the place of an earlier one */

	/* checker to master */
	CHECKER_READY,      /* no payload */
	CHECKER_START_FAILED, /* struct role_failed: the start went wrong, the process ends */
	CHECKER_ALIVE,      /* no payload: each CHECKER_ALIVE_MS */

	/* worker to checker */
	CHECKER_ASK,        /* struct checker_question; descriptors: the message in wire form from its beginning, a packet of check_args.h */
	CHECKER_CANCEL,     /* struct checker_cancelled */

	/* checker to worker */
	CHECKER_ANSWER,     /* struct checker_answer; descriptor where changed_len is not 0: a sealed memory file */
};

struct checker_setup {
	struct priv_user user;
	uint64_t log_form, log_level;
	struct checker_options options;
};

struct checker_link_to {
	uint32_t worker;
};

struct checker_question {
	uint64_t ticket, wire_len;
};

struct checker_cancelled {
	uint64_t ticket;
};

#endif
