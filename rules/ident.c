#include "ident.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"

enum ident_state {
	IDENT_OPENING,    /* the opener was asked for a connection */
	IDENT_CONNECTING, /* on the opener's connection */
	IDENT_OWN,        /* connecting from our own address */
	IDENT_ASKED       /* connected, the query is out */
};

struct ident {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_task failed; /* what fails at once is reported on the next turn */
	ident_fn done;
	void *ctx;
	struct ident_question question;
	enum ident_state state;
	uint64_t due_ms;
	uint64_t ticket; /* of the opener; 0: none is out */
	bool was_silent; /* nothing came back on the opener's connection */
	int fd;
	size_t len;
	char line[IDENT_LINE_CAP];
};

/* ---- the answer */

/* done may give us back. */
static void finish(struct ident *ident, enum ident_result result, struct span user)
{
	loop_io_destroy(&ident->io);
	loop_timer_stop(ident->timer);
	ident->done(ident->ctx, result, user);
}

static void nobody(void *ctx)
{
	finish(ctx, IDENT_NOBODY, SPAN_NONE);
}

static void judge_line(struct ident *ident)
{
	const struct ident_question *q = &ident->question;
	struct span user = SPAN_NONE, line = { ident->line, ident->len };
	line = span_trim(span_sub(line, 0, span_find(line, '\n', 0)));
	enum ident_result result = ident_answer_parse(line, q->client_port, q->our_port, &user);
	finish(ident, result, user);
}

static void take_answer(struct ident *ident)
{
	ssize_t n = recv(ident->fd, ident->line + ident->len, sizeof ident->line - ident->len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		nobody(ident);
		return;
	}
	ident->len += (size_t)n;
	if (n == 0 || ident->len == sizeof ident->line || memchr(ident->line, '\n', ident->len))
		judge_line(ident);
}

/* ---- the query */

static void ask(struct ident *ident)
{
	char query[32];
	int n = snprintf(query, sizeof query, "%u, %u\r\n", ident->question.client_port, ident->question.our_port);
	uint64_t now = loop_now_ms(ident->loop);
	ident->state = IDENT_ASKED;
	loop_timer_start(ident->timer, ident->due_ms > now ? ident->due_ms - now : 0);
	/* So few bytes go into an empty socket buffer at once. */
	if (send(ident->fd, query, (size_t)n, MSG_NOSIGNAL) != n || loop_io_want(ident->io, LOOP_READ))
		nobody(ident);
}

static void ready(void *ctx, unsigned events)
{
	struct ident *ident = ctx;
	if (ident->state == IDENT_ASKED) {
		take_answer(ident);
		return;
	}
	/* Connected or refused: the client is there, and it was the way back that was not. */
	if (ident->was_silent)
		ident->question.stats->lost++;
	if (events & LOOP_HANGUP)
		nobody(ident);
	else if (events & LOOP_WRITE)
		ask(ident);
}

static int watch(struct ident *ident)
{
	int err = loop_io_create(ident->loop, ident->fd, ready, ident, &ident->io);
	return err ? err : loop_io_want(ident->io, LOOP_WRITE);
}

static void hang_up(struct ident *ident)
{
	loop_io_destroy(&ident->io);
	if (ident->fd >= 0)
		(void)close(ident->fd);
	ident->fd = -1;
	if (ident->ticket)
		ident->question.opener->cancel(ident->question.opener_ctx, ident->ticket);
	ident->ticket = 0;
}

static int dial(struct ident *ident)
{
	struct sockaddr_storage sa;
	struct endpoint where = { ident->question.client, IDENT_PORT };
	socklen_t len = endpoint_to_sockaddr(&where, &sa);
	ident->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ident->fd < 0)
		return err_from_errno(errno);
	if (connect(ident->fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS)
		return err_from_errno(errno);
	return watch(ident);
}

static void dial_from_own_address(struct ident *ident)
{
	uint64_t now = loop_now_ms(ident->loop);
	hang_up(ident);
	ident->state = IDENT_OWN;
	ident->question.stats->from_own_address++;
	if (dial(ident))
		loop_task_post(ident->loop, &ident->failed);
	else
		loop_timer_start(ident->timer, ident->due_ms > now ? ident->due_ms - now : 0);
}

static void opened(void *ctx, int fd)
{
	struct ident *ident = ctx;
	ident->ticket = 0;
	ident->fd = fd;
	ident->state = IDENT_CONNECTING;
	if (fd < 0 || watch(ident))
		dial_from_own_address(ident);
}

static void timed_out(void *ctx)
{
	struct ident *ident = ctx;
	if (ident->state > IDENT_CONNECTING) {
		finish(ident, IDENT_TIMEOUT, SPAN_NONE);
		return;
	}
	/* A query from the wrong address is often answered wrongly, none at all leaves the session without an answer for certain. */
	ident->was_silent = ident->state == IDENT_CONNECTING;
	dial_from_own_address(ident);
}

int ident_start(struct loop *loop, const struct ident_question *question, ident_fn done, void *ctx, struct ident **out)
{
	const struct ident_opener *opener = question->opener;
	struct ident *ident = calloc(1, sizeof *ident);
	if (!ident)
		return ERR_NOMEM;
	*ident = (struct ident){ .loop = loop, .done = done, .ctx = ctx, .fd = -1, .question = *question };
	ident->failed = (struct loop_task){ .fn = nobody, .ctx = ident };
	ident->due_ms = loop_now_ms(loop) + question->timeout_ms;
	int err = loop_timer_create(loop, timed_out, ident, &ident->timer);
	if (err) {
		ident_cancel(&ident);
		return err;
	}
	question->stats->queries++;
	if (opener)
		ident->ticket = opener->ask(question->opener_ctx, opened, ident);
	if (ident->ticket)
		loop_timer_start(ident->timer, question->timeout_ms / 2);
	else
		dial_from_own_address(ident);
	*out = ident;
	return 0;
}

void ident_cancel(struct ident **ident)
{
	if (!*ident)
		return;
	loop_task_cancel(&(*ident)->failed);
	hang_up(*ident);
	loop_timer_destroy(&(*ident)->timer);
	free(*ident);
	*ident = NULL;
}
