/* Messages between processes: descriptors travel, order stays, a sibling that talks nonsense or reads nothing is survived. */
#include "ipc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
	struct loop *loop;
	struct ipc_channel *channel;
	int peer;
	uint32_t last_type, count, stop_at;
	int closed, closed_err;
	bool destroy_inside;
};

static void on_message(void *ctx, struct ipc_message *msg)
{
	struct world *w = ctx;
	assert_int_equal(msg->type, w->last_type + 1); /* in order, none lost */
	w->last_type = msg->type;
	w->count++;
	if (w->destroy_inside)
		ipc_channel_destroy(&w->channel);
	if (w->count == w->stop_at)
		loop_stop(w->loop);
}

static void on_closed(void *ctx, int err)
{
	struct world *w = ctx;
	w->closed++;
	w->closed_err = err;
	loop_stop(w->loop);
}

static void open_world(struct world *w)
{
	int fds[2];
	*w = (struct world){ .peer = -1 };
	assert_int_equal(loop_create(&w->loop), 0);
	assert_int_equal(ipc_pair(fds), 0);
	assert_int_equal(ipc_channel_create(w->loop, fds[0], on_message, on_closed, w, &w->channel), 0);
	w->peer = fds[1];
}

static void close_world(struct world *w)
{
	ipc_channel_destroy(&w->channel);
	if (w->peer >= 0)
		(void)close(w->peer);
	loop_destroy(&w->loop);
}

static int open_fd_count(void)
{
	int count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void descriptors_travel(void **state)
{
	int fds[2], pipe_fds[2];
	struct ipc_message msg;
	char byte = 0;
	(void)state;
	assert_int_equal(ipc_pair(fds), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(ipc_send(fds[0], 17, "payload", 7, &pipe_fds[1], 1), 0);
	assert_int_equal(ipc_receive_wait(fds[1], 1000, &msg), 0);
	assert_int_equal(msg.type, 17);
	assert_int_equal(msg.len, 7);
	assert_memory_equal(msg.payload, "payload", 7);
	assert_int_equal(msg.fd_count, 1);
	assert_true(fcntl(msg.fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(msg.fds[0], "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	int before = open_fd_count();
	int taken = ipc_message_take_fd(&msg, 0);
	assert_int_equal(ipc_message_take_fd(&msg, 0), -1);
	assert_int_equal(ipc_message_take_fd(&msg, 1), -1);
	ipc_message_drop(&msg);
	assert_int_equal(open_fd_count(), before); /* what was taken stays */
	msg = (struct ipc_message){ .fds = { taken }, .fd_count = 1 };
	ipc_message_drop(&msg);
	assert_int_equal(open_fd_count(), before - 1);
	assert_int_equal(ipc_receive_wait(fds[1], 10, &msg), ERR_TIMEOUT);
	(void)close(fds[0]);
	assert_int_equal(ipc_receive_wait(fds[1], 1000, &msg), ERR_EOF);
	assert_int_equal(ipc_send(fds[1], 1, NULL, 0, NULL, 0), ERR_EOF);
	(void)close(fds[1]);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
}

/* Packets of every length up to a header's, and headers that lie: ERR_PROTO each, once. */
static void nonsense_closes(void **state)
{
	static const uint32_t lies[][2] = { { 1, 1 }, { 1, 5 }, { 1, 0xffffffff }, { 1, 3 } };
	(void)state;
	for (size_t len = 1; len <= 12; len++) {
		struct world w;
		char packet[12] = { 0 };
		open_world(&w);
		if (len >= 8)
			memcpy(packet, lies[len - 8 < 4 ? len - 8 : 3], 8);
		if (len == 11)
			packet[4] = 4; /* three bytes follow */
		if (len == 12)
			packet[4] = 5;
		assert_int_equal(send(w.peer, packet, len, 0), len);
		loop_run(w.loop);
		assert_int_equal(w.closed, 1);
		assert_int_equal(w.closed_err, ERR_PROTO);
		assert_int_equal(w.count, 0);
		assert_int_equal(ipc_channel_send(w.channel, 1, NULL, 0, NULL, 0), ERR_EOF);
		close_world(&w);
	}
}

static void hang_up(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	assert_int_equal(ipc_send(w.peer, 1, "last words", 10, NULL, 0), 0);
	(void)close(w.peer);
	w.peer = -1;
	loop_run(w.loop);
	assert_int_equal(w.count, 1);
	assert_int_equal(w.closed, 1);
	assert_int_equal(w.closed_err, ERR_EOF);
	close_world(&w);
}

/* What does not fit is queued and arrives in order; a peer that never reads is noticed, and nothing leaks. */
static void slow_and_deaf_peers(void **state)
{
	struct world from, to;
	char payload[2000] = { 0 };
	int before = open_fd_count(), fds[2];
	(void)state;
	open_world(&from);
	uint32_t sent = 0;
	while (ipc_channel_send(from.channel, sent + 1, payload, sizeof payload, &from.peer, 1) == 0)
		assert_true(++sent < 100000);
	assert_true(sent > 10); /* then the queue's bound, or the system's of descriptors under way */
	close_world(&from);
	assert_int_equal(open_fd_count(), before);

	/* One loop, both ends. */
	to = (struct world){ .peer = -1, .stop_at = 900 };
	assert_int_equal(loop_create(&to.loop), 0);
	assert_int_equal(ipc_pair(fds), 0);
	from = (struct world){ .peer = -1, .loop = to.loop };
	assert_int_equal(ipc_channel_create(to.loop, fds[0], on_message, on_closed, &from, &from.channel), 0);
	for (uint32_t i = 1; i <= 900; i++)
		assert_int_equal(ipc_channel_send(from.channel, i, payload, sizeof payload, NULL, 0), 0);
	assert_int_equal(ipc_channel_create(to.loop, fds[1], on_message, on_closed, &to, &to.channel), 0);
	loop_run(to.loop);
	assert_int_equal(to.count, 900);
	ipc_channel_destroy(&from.channel);
	close_world(&to);
	assert_int_equal(open_fd_count(), before);
}

static void destroyed_from_inside(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	w.destroy_inside = true;
	w.stop_at = 1;
	for (uint32_t i = 1; i <= 3; i++)
		assert_int_equal(ipc_send(w.peer, i, NULL, 0, &w.peer, 1), 0);
	loop_run(w.loop);
	assert_int_equal(w.count, 1);
	assert_null(w.channel);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_travel),  cmocka_unit_test(nonsense_closes),	cmocka_unit_test(hang_up),
		cmocka_unit_test(slow_and_deaf_peers), cmocka_unit_test(destroyed_from_inside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
