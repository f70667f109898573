#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 32
#define END_TEXT_CAP REASON_CAP
#define QUEUE_BYTES_MAX (256u * 1024) /* of one asker; the status of the largest daemon is a tenth of it */

struct end_packet {
	int32_t err;
	char text[END_TEXT_CAP];
};

struct queued {
	struct queued *next;
	uint32_t type;
	size_t len;
	char bytes[];
};

struct control_client {
	struct control_server *server;
	struct control_client *next;
	int fd;
	struct loop_io *io;
	loop_fn gone, room;
	void *gone_ctx, *room_ctx;
	bool is_asked;  /* a question is being answered */
	struct queued *queue, **queue_end;
	size_t queue_bytes;
	bool wants_room; /* it was told ERR_AGAIN */
	bool has_end;    /* the end did not fit yet */
	struct end_packet end;
};

struct control_server {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	control_fn fn;
	void *ctx;
	struct control_client *clients;
	size_t client_count;
};

static int make_address(const char *path, struct sockaddr_un *out, struct reason *why)
{
	memset(out, 0, sizeof *out);
	out->sun_family = AF_UNIX;
	if (span_to_cstr(span_of(path), out->sun_path, sizeof out->sun_path))
		return reason_set(why, ERR_TOOLONG, "%s: the path of a socket has at most %zu bytes", path, sizeof out->sun_path - 1);
	return 0;
}

static int open_socket(int *fd_out, struct reason *why)
{
	*fd_out = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd_out < 0)
		return reason_set(why, err_from_errno(errno), "socket: %s", strerror(errno));
	return 0;
}

int control_listen(const char *path, int *fd_out, struct reason *why)
{
	struct sockaddr_un sa;
	int fd;
	int err = make_address(path, &sa, why);
	if (!err)
		err = open_socket(&fd, why);
	if (err)
		return err;
	/* EAGAIN: somebody listens, and many are waiting for him. */
	bool is_alive = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EAGAIN;
	(void)close(fd);
	if (is_alive)
		return reason_set(why, ERR_BUSY, "%s: another daemon listens there", path);
	struct stat st;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return reason_set(why, ERR_BUSY, "%s is in the way: not a socket", path);
	(void)unlink(path);
	err = open_socket(&fd, why);
	if (err)
		return err;
	mode_t old = umask(0177);
	int failed = bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(fd, CLIENTS_MAX) != 0;
	int errnum = errno;
	(void)umask(old);
	if (failed) {
		(void)close(fd);
		return reason_set(why, err_from_errno(errnum), "%s: %s", path, strerror(errnum));
	}
	*fd_out = fd;
	return 0;
}

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void client_close(struct control_client *client)
{
	struct control_client **link = &client->server->clients;
	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	client->server->client_count--;
	loop_io_destroy(&client->io);
	(void)close(client->fd);
	for (struct queued *q = client->queue, *next; q; q = next) {
		next = q->next;
		free(q);
	}
	if (client->gone)
		client->gone(client->gone_ctx);
	free(client);
}

static void send_end(struct control_client *client)
{
	int err = client->queue ? ERR_AGAIN : ipc_send(client->fd, CONTROL_END, &client->end, sizeof client->end, NULL, 0);
	client->has_end = err == ERR_AGAIN;
	if (!client->has_end)
		client->is_asked = false;
	(void)loop_io_want(client->io, client->has_end ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

/* False: some of it still waits. */
static bool send_queue(struct control_client *client)
{
	while (client->queue) {
		struct queued *q = client->queue;
		if (ipc_send(client->fd, q->type, q->bytes, q->len, NULL, 0) == ERR_AGAIN)
			return false;
		client->queue = q->next;
		client->queue_bytes -= q->len;
		free(q);
	}
	client->queue_end = &client->queue;
	return true;
}

static void client_ready(void *ctx, unsigned events)
{
	struct control_client *client = ctx;
	if (events & LOOP_WRITE) {
		if (!send_queue(client))
			return;
		(void)loop_io_want(client->io, LOOP_READ);
		bool wanted_room = client->wants_room;
		client->wants_room = false;
		if (client->has_end)
			send_end(client);
		else if (wanted_room && client->room)
			client->room(client->room_ctx);
		return;
	}
	struct ipc_message msg;
	int err = ipc_receive_wait(client->fd, 0, &msg);
	if (err == ERR_TIMEOUT || err == ERR_AGAIN)
		return;
	bool good = !err && msg.type == CONTROL_REQUEST && msg.len <= CONTROL_REQUEST_CAP && msg.fd_count == 0 && !client->is_asked;
	if (!err)
		ipc_message_drop(&msg);
	if (!good) {
		client_close(client);
		return;
	}
	client->is_asked = true;
	client->server->fn(client->server->ctx, client, (struct span){ msg.payload, msg.len });
}

static void server_ready(void *ctx, unsigned events)
{
	struct control_server *server = ctx;
	(void)events;
	int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct control_client *client = calloc(1, sizeof *client);
	if (!client || server->client_count >= CLIENTS_MAX || !may_ask(fd) ||
	    loop_io_create(server->loop, fd, client_ready, client, &client->io) != 0) {
		free(client);
		(void)close(fd);
		return;
	}
	client->server = server;
	client->fd = fd;
	client->queue_end = &client->queue;
	client->next = server->clients;
	server->clients = client;
	server->client_count++;
	(void)loop_io_want(client->io, LOOP_READ);
}

int control_server_create(struct loop *loop, int listen_fd, control_fn fn, void *ctx, struct control_server **out)
{
	struct control_server *server = calloc(1, sizeof *server);
	if (!server)
		return ERR_NOMEM;
	*server = (struct control_server){ .loop = loop, .fd = listen_fd, .fn = fn, .ctx = ctx };
	int err = loop_io_create(loop, listen_fd, server_ready, server, &server->io);
	if (!err)
		err = loop_io_want(server->io, LOOP_READ);
	if (err) {
		loop_io_destroy(&server->io);
		free(server);
		return err;
	}
	*out = server;
	return 0;
}

void control_server_destroy(struct control_server **server)
{
	struct control_server *s = *server;
	if (!s)
		return;
	while (s->clients)
		client_close(s->clients);
	loop_io_destroy(&s->io);
	(void)close(s->fd);
	free(s);
	*server = NULL;
}

static int enqueue(struct control_client *client, uint32_t type, struct span bytes)
{
	struct queued *q = client->queue_bytes + bytes.len <= QUEUE_BYTES_MAX ? malloc(sizeof *q + bytes.len) : NULL;
	if (!q) {
		client->wants_room = true;
		return ERR_AGAIN;
	}
	*q = (struct queued){ .type = type, .len = bytes.len };
	if (bytes.len)
		memcpy(q->bytes, bytes.ptr, bytes.len);
	*client->queue_end = q;
	client->queue_end = &q->next;
	client->queue_bytes += bytes.len;
	return 0;
}

static int send_part(struct control_client *client, uint32_t type, struct span bytes)
{
	int err = client->queue ? ERR_AGAIN : ipc_send(client->fd, type, bytes.ptr, bytes.len, NULL, 0);
	if (err != ERR_AGAIN)
		return err;
	(void)loop_io_want(client->io, LOOP_READ | LOOP_WRITE);
	return enqueue(client, type, bytes);
}

int control_line(struct control_client *client, const struct kv *kv)
{
	return send_part(client, CONTROL_LINE, (struct span){ kv->text, kv->len });
}

int control_bytes(struct control_client *client, struct span bytes)
{
	return send_part(client, CONTROL_BYTES, bytes);
}

void control_end(struct control_client *client, int err, const char *text)
{
	memset(&client->end, 0, sizeof client->end);
	client->end.err = err;
	struct span cut = span_of(text ? text : "");
	if (cut.len >= sizeof client->end.text)
		cut.len = sizeof client->end.text - 1;
	(void)span_to_cstr(cut, client->end.text, sizeof client->end.text);
	send_end(client);
}

void control_on_gone(struct control_client *client, loop_fn gone, void *ctx)
{
	client->gone = gone;
	client->gone_ctx = ctx;
}

void control_on_room(struct control_client *client, loop_fn room, void *ctx)
{
	client->room = room;
	client->room_ctx = ctx;
}

static int hand_on(const struct ipc_message *msg, const struct control_answer *answer, bool *done, struct reason *why)
{
	struct span bytes = { msg->payload, msg->len };
	struct end_packet end;
	switch (msg->type) {
	case CONTROL_LINE:
		if (answer->line)
			answer->line(answer->ctx, bytes);
		return 0;
	case CONTROL_BYTES:
		if (answer->bytes)
			answer->bytes(answer->ctx, bytes);
		return 0;
	case CONTROL_END:
		if (msg->len != sizeof end)
			break;
		memcpy(&end, msg->payload, sizeof end);
		end.text[sizeof end.text - 1] = '\0';
		*done = true;
		return reason_set(why, end.err > 0 ? ERR_PROTO : end.err, "%s", end.text);
	default:
		break;
	}
	*done = true;
	return reason_set(why, ERR_PROTO, "the daemon's answer makes no sense: is it of another version?");
}

int control_ask(const char *path, const char *request, int timeout_ms, const struct control_answer *answer, struct reason *why)
{
	struct sockaddr_un sa;
	int fd;
	bool done = false;
	int err = make_address(path, &sa, why);
	if (!err)
		err = open_socket(&fd, why);
	if (err)
		return err;
	if (strlen(request) > CONTROL_REQUEST_CAP)
		err = reason_set(why, ERR_TOOLONG, "too many arguments at once");
	else if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0)
		err = reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	else
		err = ipc_send(fd, CONTROL_REQUEST, request, strlen(request), NULL, 0);
	while (!err && !done) {
		struct ipc_message msg;
		err = ipc_receive_wait(fd, timeout_ms, &msg);
		if (err == ERR_EOF)
			reason_set(why, err, "the daemon hung up: are you root?");
		else if (err)
			reason_set(why, err, "the daemon does not answer (%s)", err_name(err));
		else {
			err = hand_on(&msg, answer, &done, why);
			ipc_message_drop(&msg);
		}
	}
	(void)close(fd);
	return err;
}
