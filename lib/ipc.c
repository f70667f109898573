#include "ipc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_BOUND 1024 /* messages that wait for a sibling which does not read */
#define RECEIVE_BUDGET 64

struct header {
	uint32_t type;
	uint32_t len;
};

struct queued {
	struct queued *next;
	uint32_t type;
	size_t len;
	int fds[IPC_FDS_CAP];
	size_t fd_count;
	char payload[];
};

struct ipc_channel {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	ipc_message_fn on_message;
	ipc_closed_fn on_closed;
	void *ctx;
	struct loop_task closed_task;
	int closed_err;
	struct queued *queue, **queue_end;
	size_t queue_len;
	bool *destroyed; /* set while on_message runs, to see a destroy from inside */
};

/* One receive buffer for the process: everything runs on the loop's thread. */
static alignas(max_align_t) char receive_buffer[IPC_PAYLOAD_CAP];

int ipc_pair(int fds_out[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds_out) != 0)
		return err_from_errno(errno);
	return 0;
}

int ipc_send(int fd, uint32_t type, const void *payload, size_t len, const int *fds, size_t fd_count)
{
	assert(len <= IPC_PAYLOAD_CAP && fd_count <= IPC_FDS_CAP);
	struct header head = { type, (uint32_t)len };
	struct iovec parts[2] = { { &head, sizeof head }, { (void *)(uintptr_t)payload, len } };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * IPC_FDS_CAP)];
	} control;
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = len ? 2 : 1 };
	if (fd_count) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	ssize_t n;
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_from_errno(errno) : 0;
}

static void take_fds(struct msghdr *msg, struct ipc_message *out)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (out->fd_count < IPC_FDS_CAP)
				out->fds[out->fd_count++] = fd;
			else
				(void)close(fd);
		}
	}
}

int ipc_message_take_fd(struct ipc_message *msg, size_t index)
{
	if (index >= msg->fd_count)
		return -1;
	int fd = msg->fds[index];
	msg->fds[index] = -1;
	return fd;
}

void ipc_message_drop(struct ipc_message *msg)
{
	for (size_t i = 0; i < msg->fd_count; i++)
		if (msg->fds[i] >= 0)
			(void)close(msg->fds[i]);
	msg->fd_count = 0;
}

static int receive(int fd, struct ipc_message *out)
{
	struct header head;
	struct iovec parts[2] = { { &head, sizeof head }, { receive_buffer, sizeof receive_buffer } };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * IPC_FDS_CAP)];
	} control;
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	*out = (struct ipc_message){ .fds = { -1, -1, -1, -1 } };
	ssize_t n;
	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_from_errno(errno);
	if (n == 0)
		return ERR_EOF;
	take_fds(&msg, out);
	/* MSG_CTRUNC: a descriptor could not be taken, because we are out of them.  The message still says whose it was. */
	if (msg.msg_flags & MSG_TRUNC || (size_t)n < sizeof head || head.len != (size_t)n - sizeof head) {
		ipc_message_drop(out);
		return ERR_PROTO;
	}
	out->type = head.type;
	out->len = head.len;
	out->payload = receive_buffer;
	return 0;
}

int ipc_receive_wait(int fd, int timeout_ms, struct ipc_message *out)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	for (;;) {
		int err = receive(fd, out);
		if (err != ERR_AGAIN)
			return err;
		int ready = poll(&p, 1, timeout_ms);
		if (ready == 0)
			return ERR_TIMEOUT;
		if (ready < 0 && errno != EINTR)
			return err_from_errno(errno);
	}
}

static void report_closed(void *ctx)
{
	struct ipc_channel *ch = ctx;
	ch->on_closed(ch->ctx, ch->closed_err);
}

/* From here on the channel is silent; the owner hears of it on the next turn of the loop. */
static void channel_fail(struct ipc_channel *ch, int err)
{
	if (ch->closed_err)
		return;
	ch->closed_err = err;
	(void)loop_io_want(ch->io, 0);
	loop_task_post(ch->loop, &ch->closed_task);
}

static void free_queued(struct queued *q)
{
	for (size_t i = 0; i < q->fd_count; i++)
		(void)close(q->fds[i]);
	free(q);
}

static void flush_queue(struct ipc_channel *ch)
{
	while (ch->queue) {
		struct queued *q = ch->queue;
		int err = ipc_send(ch->fd, q->type, q->payload, q->len, q->fds, q->fd_count);
		if (err == ERR_AGAIN)
			return;
		ch->queue = q->next;
		ch->queue_len--;
		if (!ch->queue)
			ch->queue_end = &ch->queue;
		free_queued(q);
		if (err) {
			channel_fail(ch, err);
			return;
		}
	}
	(void)loop_io_want(ch->io, LOOP_READ);
}

static void channel_ready(void *ctx, unsigned events)
{
	struct ipc_channel *ch = ctx;
	bool destroyed = false;
	if (events & LOOP_WRITE)
		flush_queue(ch);
	for (int budget = RECEIVE_BUDGET; budget > 0 && !ch->closed_err; budget--) {
		struct ipc_message msg;
		int err = receive(ch->fd, &msg);
		if (err == ERR_AGAIN)
			return;
		if (err) {
			channel_fail(ch, err);
			return;
		}
		ch->destroyed = &destroyed;
		ch->on_message(ch->ctx, &msg);
		ipc_message_drop(&msg);
		if (destroyed)
			return;
		ch->destroyed = NULL;
	}
}

int ipc_channel_create(struct loop *loop, int fd, ipc_message_fn on_message, ipc_closed_fn on_closed, void *ctx, struct ipc_channel **out)
{
	struct ipc_channel *ch = calloc(1, sizeof *ch);
	if (!ch)
		return ERR_NOMEM;
	ch->loop = loop;
	ch->fd = fd;
	ch->on_message = on_message;
	ch->on_closed = on_closed;
	ch->ctx = ctx;
	ch->queue_end = &ch->queue;
	ch->closed_task = (struct loop_task){ .fn = report_closed, .ctx = ch };
	int err = loop_io_create(loop, fd, channel_ready, ch, &ch->io);
	if (!err)
		err = loop_io_want(ch->io, LOOP_READ);
	if (err) {
		loop_io_destroy(&ch->io);
		free(ch);
		return err;
	}
	*out = ch;
	return 0;
}

static int enqueue(struct ipc_channel *ch, uint32_t type, const void *payload, size_t len, const int *fds, size_t fd_count)
{
	if (ch->queue_len >= QUEUE_BOUND)
		return ERR_NOSPACE;
	struct queued *q = calloc(1, sizeof *q + len);
	if (!q)
		return ERR_NOMEM;
	q->type = type;
	q->len = len;
	if (len)
		memcpy(q->payload, payload, len);
	for (; q->fd_count < fd_count; q->fd_count++) {
		q->fds[q->fd_count] = fcntl(fds[q->fd_count], F_DUPFD_CLOEXEC, 3);
		if (q->fds[q->fd_count] < 0) {
			int err = err_from_errno(errno);
			free_queued(q);
			return err;
		}
	}
	*ch->queue_end = q;
	ch->queue_end = &q->next;
	ch->queue_len++;
	return loop_io_want(ch->io, LOOP_READ | LOOP_WRITE);
}

int ipc_channel_send(struct ipc_channel *ch, uint32_t type, const void *payload, size_t len, const int *fds, size_t fd_count)
{
	if (ch->closed_err)
		return ERR_EOF;
	int err = ch->queue ? ERR_AGAIN : ipc_send(ch->fd, type, payload, len, fds, fd_count);
	if (err == ERR_AGAIN)
		err = enqueue(ch, type, payload, len, fds, fd_count);
	return err;
}

bool ipc_channel_is_behind(const struct ipc_channel *ch)
{
	return ch->queue != NULL;
}

void ipc_channel_destroy(struct ipc_channel **channel)
{
	struct ipc_channel *ch = *channel;
	if (!ch)
		return;
	if (ch->destroyed)
		*ch->destroyed = true;
	loop_task_cancel(&ch->closed_task);
	loop_io_destroy(&ch->io);
	while (ch->queue) {
		struct queued *q = ch->queue;
		ch->queue = q->next;
		free_queued(q);
	}
	(void)close(ch->fd);
	free(ch);
	*channel = NULL;
}
