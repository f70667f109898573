/* Control sockets: a live one is not taken for a stale one, and an answer longer than a socket holds arrives whole. */
#include "control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINES 700u /* of 300 bytes: more than a socket holds, less than the server's bound */

static char dir[] = "/tmp/postern-control-XXXXXX", path[64];
static struct loop *loop;
static unsigned refused;

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof path, "%s/ctl.sock", dir);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static void stale_and_live(void **state)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int first = -1, second = -1, waiting[64], count = 0;
	(void)state;
	(void)snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
	assert_int_equal(control_listen(path, &first, NULL), 0);
	assert_int_equal(control_listen(path, &second, NULL), ERR_BUSY);
	/* Until nobody fits in any more. */
	for (; count < 64; count++) {
		waiting[count] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
		if (connect(waiting[count], (struct sockaddr *)&sa, sizeof sa) != 0)
			break;
	}
	assert_true(count < 64);
	assert_int_equal(control_listen(path, &second, NULL), ERR_BUSY);
	for (; count >= 0; count--)
		(void)close(waiting[count]);
	(void)close(first);
	assert_int_equal(control_listen(path, &second, NULL), 0);
	(void)close(second);
}

/* ---- a long answer */

static void answer(void *ctx, struct control_client *client, struct span request)
{
	unsigned lines = span_eq(request, SPAN_LIT("much")) ? LINES : 10 * LINES;
	char filler[281];
	(void)ctx;
	memset(filler, 'x', sizeof filler - 1);
	filler[sizeof filler - 1] = '\0';
	refused = 0;
	for (unsigned i = 0; i < lines; i++) {
		struct kv kv;
		kv_init(&kv);
		kv_u64(&kv, "n", i);
		kv_text(&kv, "filler", filler);
		if (control_line(client, &kv) != 0)
			refused++;
	}
	control_end(client, 0, "");
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

struct asked {
	const char *request;
	unsigned lines;
	bool is_ordered;
	int err;
	struct loop_timer *end;
};

static void count_line(void *ctx, struct span line)
{
	struct asked *asked = ctx;
	char expected[32];
	(void)snprintf(expected, sizeof expected, "n=%u ", asked->lines++);
	asked->is_ordered = asked->is_ordered && span_starts_nocase(line, span_of(expected));
}

static void *ask(void *ctx)
{
	struct asked *asked = ctx;
	const struct control_answer to = { .line = count_line, .ctx = asked };
	struct reason why;
	(void)usleep(100000);
	asked->err = control_ask(path, asked->request, 5000, &to, &why);
	return NULL;
}

static void ask_and_serve(struct asked *asked)
{
	struct control_server *server = NULL;
	struct loop_timer *end = NULL;
	pthread_t thread;
	int fd = -1;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(control_listen(path, &fd, NULL), 0);
	assert_int_equal(control_server_create(loop, fd, answer, NULL, &server), 0);
	assert_int_equal(loop_timer_create(loop, stop, loop, &end), 0);
	loop_timer_start(end, 1500);
	assert_int_equal(pthread_create(&thread, NULL, ask, asked), 0);
	loop_run(loop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	control_server_destroy(&server);
	loop_timer_destroy(&end);
	loop_destroy(&loop);
}

static void long_answer(void **state)
{
	struct asked asked = { .request = "much", .is_ordered = true, .err = -1 };
	(void)state;
	ask_and_serve(&asked);
	assert_int_equal(asked.err, 0);
	assert_int_equal(refused, 0);
	assert_int_equal(asked.lines, LINES);
	assert_true(asked.is_ordered);
}

static void bounded_answer(void **state)
{
	struct asked asked = { .request = "too much", .is_ordered = true, .err = -1 };
	(void)state;
	ask_and_serve(&asked);
	assert_int_equal(asked.err, 0);
	assert_true(refused > 0);
	assert_int_equal(asked.lines, 10 * LINES - refused);
	assert_true(asked.is_ordered);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(stale_and_live), cmocka_unit_test(long_answer), cmocka_unit_test(bounded_answer) };
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
