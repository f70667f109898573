#include "stutter.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"

#define TURNS 10u           /* an interval is cut into: thousands of characters at once would make the others wait */
#define FORGET_MAX 65536u   /* bytes of a client that are read and forgotten at its end */

struct stutterer {
	struct stutterer *older, *newer;
	struct client *client;
	int fd;
	uint16_t len, sent;
	char text[];
};

_Static_assert(sizeof(struct stutterer) + STUTTER_TEXT_CAP <= 1000, "one KiB with what malloc adds");

struct stutterers {
	struct client_table *clients;
	struct loop *loop;
	struct loop_timer *timer;
	struct stutter_options options;
	struct client_limits limits;
	struct stutterer *oldest, *newest;
	struct stutterer *next; /* whose turn it is; NULL: the oldest's */
	size_t count;
	size_t due; /* characters, times TURNS */
};

static void end(struct stutterers *st, struct stutterer *one)
{
	if (st->next == one)
		st->next = one->newer;
	if (one->older)
		one->older->newer = one->newer;
	else
		st->oldest = one->newer;
	if (one->newer)
		one->newer->older = one->older;
	else
		st->newest = one->older;
	st->count--;
	if (one->client)
		client_stop_stuttering(one->client);
	client_table_leave(st->clients, &st->limits, loop_now_ms(st->loop), &one->client);
	/* Bytes that nobody has read would make the kernel destroy what the client has not read yet. */
	(void)recv(one->fd, NULL, FORGET_MAX, MSG_DONTWAIT | MSG_TRUNC);
	(void)close(one->fd);
	free(one);
}

/* Up to count characters.  False: it has ended. */
static bool send_some(struct stutterers *st, struct stutterer *one, size_t count)
{
	size_t left = (size_t)(one->len - one->sent);
	ssize_t n = send(one->fd, one->text + one->sent, count < left ? count : left, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		one->sent = (uint16_t)(one->sent + n);
	bool is_gone = n < 0 && errno != EAGAIN && errno != EINTR;
	if (!is_gone && one->sent < one->len)
		return true;
	end(st, one);
	return false;
}

static void let_go(struct stutterers *st, struct stutterer *one)
{
	if (send_some(st, one, STUTTER_TEXT_CAP))
		end(st, one);
}

static void turn(void *ctx)
{
	struct stutterers *st = ctx;
	/* Each has one in an interval: a tenth of them in each turn, the remainder in the turns behind it. */
	st->due += st->count;
	for (; st->due >= TURNS && st->count; st->due -= TURNS) {
		struct stutterer *one = st->next ? st->next : st->oldest;
		st->next = one->newer;
		(void)send_some(st, one, 1);
	}
	if (st->count)
		loop_timer_start(st->timer, st->options.interval_ms / TURNS);
	else
		st->due = 0;
}

int stutterers_create(struct loop *loop, struct client_table *clients, struct stutterers **out)
{
	struct stutterers *st = calloc(1, sizeof *st);
	if (!st)
		return ERR_NOMEM;
	st->clients = clients;
	st->loop = loop;
	int err = loop_timer_create(loop, turn, st, &st->timer);
	if (err)
		free(st);
	else
		*out = st;
	return err;
}

void stutterers_release(struct stutterers *st)
{
	while (st->oldest)
		let_go(st, st->oldest);
}

void stutterers_destroy(struct stutterers **stutterers)
{
	struct stutterers *st = *stutterers;
	if (!st)
		return;
	stutterers_release(st);
	loop_timer_destroy(&st->timer);
	free(st);
	*stutterers = NULL;
}

static void make_room(struct stutterers *st, const struct client *client)
{
	struct stutterer *one = st->oldest;
	if (client && client_stutters(client) >= st->options.per_client) {
		while (one && one->client != client)
			one = one->newer;
	} else if (st->count < st->options.max) {
		one = NULL;
	}
	if (one)
		let_go(st, one);
}

/* What the client may still send waits in the kernel, and there is to be little of it. */
static void shrink_window(int fd)
{
	const int small = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &small, sizeof small);
}

int stutter_start(struct stutterers *st, const struct stutter_options *options, const struct client_limits *limits, int fd, struct span text,
		  struct client *client)
{
	if (text.len > STUTTER_TEXT_CAP)
		return ERR_TOOLONG;
	if (options->max == 0 || options->per_client == 0 || text.len == 0)
		return ERR_REFUSED;
	struct stutterer *one = malloc(sizeof *one + text.len);
	if (!one)
		return ERR_NOMEM;
	st->options = *options;
	st->limits = *limits;
	make_room(st, client);
	*one = (struct stutterer){ .older = st->newest, .client = client, .fd = fd, .len = (uint16_t)text.len };
	memcpy(one->text, text.ptr, text.len);
	if (st->newest)
		st->newest->newer = one;
	else
		st->oldest = one;
	st->newest = one;
	if (client)
		client_start_stuttering(client);
	shrink_window(fd);
	if (st->count++ == 0)
		loop_timer_start(st->timer, options->interval_ms / TURNS);
	return 0;
}

size_t stutter_count(const struct stutterers *st)
{
	return st->count;
}
