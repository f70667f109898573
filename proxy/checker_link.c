#include "checker_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "role_messages.h"

struct checker_asked {
	struct checker_link *link;
	struct checker_asked *prev, *next;
	uint64_t ticket;
	struct loop_timer *timer;
	checker_answered_fn answered;
	void *ctx;
};

struct checker_link {
	struct loop *loop;
	struct ipc_channel *master;
	struct ipc_channel *channel; /* NULL: there is none now */
	struct checker_asked *list;
	uint64_t last_ticket;
};

static void asked_free(struct checker_asked *a)
{
	*(a->prev ? &a->prev->next : &a->link->list) = a->next;
	if (a->next)
		a->next->prev = a->prev;
	loop_timer_destroy(&a->timer);
	free(a);
}

static void tell(struct checker_asked *a, const struct checker_answer *answer, int changed_fd)
{
	checker_answered_fn answered = a->answered;
	void *ctx = a->ctx;
	asked_free(a);
	answered(ctx, answer, changed_fd);
}

static void fail(struct checker_asked *a, enum checker_result result, const char *why)
{
	struct checker_answer answer = { .ticket = a->ticket, .result = (int32_t)result };
	(void)snprintf(answer.said, sizeof answer.said, "%s", why);
	tell(a, &answer, -1);
}

/* Who is told may end other questions, also the next one: so from the front, each time anew. */
static void fail_all(struct checker_link *link, const char *why)
{
	while (link->list)
		fail(link->list, CHECKER_FAILED, why);
}

static void send_cancel(struct checker_link *link, uint64_t ticket)
{
	const struct checker_cancelled cancelled = { ticket };
	if (link->channel)
		(void)ipc_channel_send(link->channel, CHECKER_CANCEL, &cancelled, sizeof cancelled, NULL, 0);
}

static void time_is_up(void *ctx)
{
	struct checker_asked *a = ctx;
	log_event(LOG_LEVEL_ERR, "checker-late", "the checker did not answer in time");
	send_cancel(a->link, a->ticket);
	fail(a, CHECKER_FAILED, "the checker did not answer in time");
}

static void lose(struct checker_link *link)
{
	ipc_channel_destroy(&link->channel);
	(void)ipc_channel_send(link->master, ROLE_CHECKER_LOST, NULL, 0, NULL, 0);
	fail_all(link, "the checker has died");
}

static void channel_closed(void *ctx, int err)
{
	(void)err;
	lose(ctx);
}

static void from_checker(void *ctx, struct ipc_message *msg)
{
	struct checker_link *link = ctx;
	struct checker_answer answer;
	if (msg->type != CHECKER_ANSWER || msg->len != sizeof answer) {
		log_event(LOG_LEVEL_ERR, "checker-protocol", "an answer of the checker makes no sense");
		lose(link);
		return;
	}
	memcpy(&answer, msg->payload, sizeof answer);
	answer.said[sizeof answer.said - 1] = '\0';
	if (answer.result < 0 || answer.result >= CHECKER_RESULT_COUNT)
		answer.result = CHECKER_FAILED;
	struct checker_asked *a = link->list;
	while (a && a->ticket != answer.ticket)
		a = a->next;
	/* Cancelled meanwhile. */
	if (!a)
		return;
	int changed_fd = msg->fd_count == 1 ? msg->fds[0] : -1;
	if (changed_fd >= 0)
		msg->fds[0] = -1;
	tell(a, &answer, changed_fd);
}

void checker_link_take(struct checker_link *link, int fd)
{
	ipc_channel_destroy(&link->channel);
	if (ipc_channel_create(link->loop, fd, from_checker, channel_closed, link, &link->channel) != 0)
		(void)close(fd);
	fail_all(link, "the checker has died");
}

static int send_question(struct checker_link *link, uint64_t ticket, uint64_t wire_len, int wire_fd, int args_fd)
{
	const struct checker_question question = { ticket, wire_len };
	const int fds[] = { wire_fd, args_fd };
	/* Nothing queues in front of a checker that hangs: each question holds a file. */
	if (ipc_channel_is_behind(link->channel))
		return ERR_AGAIN;
	return ipc_channel_send(link->channel, CHECKER_ASK, &question, sizeof question, fds, 2);
}

int checker_link_ask(struct checker_link *link, uint64_t wire_len, int wire_fd, int args_fd, uint64_t timeout_ms, checker_answered_fn answered, void *ctx,
		     struct checker_asked **out)
{
	if (!link->channel)
		return ERR_REFUSED;
	struct checker_asked *a = calloc(1, sizeof *a);
	if (!a)
		return ERR_NOMEM;
	*a = (struct checker_asked){ .link = link, .ticket = ++link->last_ticket, .answered = answered, .ctx = ctx };
	int err = loop_timer_create(link->loop, time_is_up, a, &a->timer);
	if (!err)
		err = send_question(link, a->ticket, wire_len, wire_fd, args_fd);
	if (err) {
		loop_timer_destroy(&a->timer);
		free(a);
		return err == ERR_EOF ? ERR_REFUSED : err;
	}
	a->next = link->list;
	if (a->next)
		a->next->prev = a;
	link->list = a;
	loop_timer_start(a->timer, timeout_ms);
	*out = a;
	return 0;
}

void checker_link_cancel(struct checker_asked **asked)
{
	struct checker_asked *a = *asked;
	if (!a)
		return;
	*asked = NULL;
	send_cancel(a->link, a->ticket);
	asked_free(a);
}

int checker_link_create(struct loop *loop, struct ipc_channel *master, struct checker_link **out)
{
	struct checker_link *link = calloc(1, sizeof *link);
	if (!link)
		return ERR_NOMEM;
	link->loop = loop;
	link->master = master;
	*out = link;
	return 0;
}

void checker_link_destroy(struct checker_link **link)
{
	if (!*link)
		return;
	ipc_channel_destroy(&(*link)->channel);
	while ((*link)->list)
		asked_free((*link)->list);
	free(*link);
	*link = NULL;
}
