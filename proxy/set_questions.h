/* set_questions.h - `postern set` on its way through the master: questions that wait for the gate, and answers that the asker takes line by
 * line, as fast as it reads.
 * Owns: the memory files of answers.  Limits: SET_QUESTIONS_MAX at once.
 */
#ifndef POSTERN_SET_QUESTIONS_H
#define POSTERN_SET_QUESTIONS_H

#include "control.h"
#include "gate_messages.h"

#define SET_QUESTIONS_MAX 16

struct set_question {
	uint64_t ticket; /* 0: free */
	struct control_client *client;
	int fd; /* the answer's lines; -1: not there yet */
	long long at;
	struct set_questions *all;
};

struct set_questions {
	uint64_t next_ticket;
	struct set_question list[SET_QUESTIONS_MAX];
};

/* ERR_BUSY: too many wait, ERR_TOOLONG.  Fills in what is to be sent to the gate. */
int set_questions_begin(struct set_questions *all, struct control_client *client, struct span request, struct gate_question *out);

/* fd: of the lines, -1 for none; its owner from here on is the question. */
void set_questions_answer(struct set_questions *all, const struct gate_answer *answer, int fd);

/* The gate is gone: whoever waits for it is told. */
void set_questions_fail(struct set_questions *all, const char *why);

#endif
