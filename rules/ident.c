#include "ident.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"

struct ident {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_task failed; /* a connection that failed at once is reported on the next turn */
	ident_fn done;
	void *ctx;
	int fd;
	uint16_t client_port, our_port;
	bool is_asked;
	size_t len;
	char line[IDENT_LINE_CAP];
};

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

static void timed_out(void *ctx)
{
	finish(ctx, IDENT_TIMEOUT, SPAN_NONE);
}

static void ask(struct ident *ident)
{
	char query[32];
	int n = snprintf(query, sizeof query, "%u, %u\r\n", ident->client_port, ident->our_port);
	/* So few bytes go into an empty socket buffer at once. */
	if (send(ident->fd, query, (size_t)n, MSG_NOSIGNAL) != n || loop_io_want(ident->io, LOOP_READ)) {
		nobody(ident);
		return;
	}
	ident->is_asked = true;
}

static void judge_line(struct ident *ident)
{
	struct span user = SPAN_NONE, line = { ident->line, ident->len };
	line = span_trim(span_sub(line, 0, span_find(line, '\n', 0)));
	enum ident_result result = ident_answer_parse(line, ident->client_port, ident->our_port, &user);
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

static void ready(void *ctx, unsigned events)
{
	struct ident *ident = ctx;
	if (ident->is_asked)
		take_answer(ident);
	else if (events & LOOP_HANGUP)
		nobody(ident);
	else if (events & LOOP_WRITE)
		ask(ident);
}

static int dial(struct ident *ident, const struct addr *client)
{
	struct sockaddr_storage sa;
	struct endpoint where = { *client, IDENT_PORT };
	socklen_t len = endpoint_to_sockaddr(&where, &sa);
	ident->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ident->fd < 0)
		return err_from_errno(errno);
	if (connect(ident->fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS)
		return err_from_errno(errno);
	int err = loop_io_create(ident->loop, ident->fd, ready, ident, &ident->io);
	return err ? err : loop_io_want(ident->io, LOOP_WRITE);
}

int ident_start(struct loop *loop, const struct addr *client, uint16_t client_port, uint16_t our_port, uint64_t timeout_ms, ident_fn done,
		void *ctx, struct ident **out)
{
	struct ident *ident = calloc(1, sizeof *ident);
	if (!ident)
		return ERR_NOMEM;
	*ident = (struct ident){ .loop = loop, .done = done, .ctx = ctx, .fd = -1, .client_port = client_port, .our_port = our_port };
	ident->failed = (struct loop_task){ .fn = nobody, .ctx = ident };
	int err = loop_timer_create(loop, timed_out, ident, &ident->timer);
	if (err) {
		ident_cancel(&ident);
		return err;
	}
	if (dial(ident, client))
		loop_task_post(loop, &ident->failed);
	else
		loop_timer_start(ident->timer, timeout_ms);
	*out = ident;
	return 0;
}

void ident_cancel(struct ident **ident)
{
	if (!*ident)
		return;
	loop_task_cancel(&(*ident)->failed);
	loop_io_destroy(&(*ident)->io);
	loop_timer_destroy(&(*ident)->timer);
	if ((*ident)->fd >= 0)
		(void)close((*ident)->fd);
	free(*ident);
	*ident = NULL;
}
