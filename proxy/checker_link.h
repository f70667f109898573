/* checker_link.h - a session worker's side of the checker: questions about whole messages, and their answers.
 * Owns: the channel, which the master hands in (again and again: a checker that dies is started anew), and the questions that are out.
 * Calls back: on the loop, once for each question, never before the asking has returned, unless cancelled.
 * Believes the checker about what its command said, and nothing else: what it hands back is looked at by the asker.
 */
#ifndef POSTERN_CHECKER_LINK_H
#define POSTERN_CHECKER_LINK_H

#include "checker_messages.h"
#include "ipc.h"
#include "loop.h"

struct checker_link;
struct checker_asked;

/* master: borrowed; is told when the channel is lost. */
int checker_link_create(struct loop *loop, struct ipc_channel *master, struct checker_link **out);

/* A new channel; given over.  What is out on the old one fails. */
void checker_link_take(struct checker_link *link, int fd);

/* changed_fd: -1, or goes over to the callee.  said has no NUL in front of its end, and may hold anything else. */
typedef void (*checker_answered_fn)(void *ctx, const struct checker_answer *answer, int changed_fd);

/* Descriptors stay the caller's (checker_messages.h says what they are).  Without an answer in time the question fails.  ERR_REFUSED: there is no checker
 * now.  ERR_NOMEM and others: not now. */
int checker_link_ask(struct checker_link *link, uint64_t wire_len, int wire_fd, int args_fd, uint64_t timeout_ms, checker_answered_fn answered, void *ctx,
		     struct checker_asked **out);

/* The checker stops its command.  Accepts NULL, clears the pointer. */
void checker_link_cancel(struct checker_asked **asked);

/* Every question must be over or cancelled. */
void checker_link_destroy(struct checker_link **link);

#endif
