/* The connections that the master begins for others (kernel-glue/outgoing.c): to one peer and to no other.  Without CAP_NET_ADMIN skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "outgoing.h"

#define PATIENCE_MS 5000
#define NEVER_MS 300

/* port: 0 for any. */
static int listen_on(enum addr_family family, const char *address, uint16_t port, struct endpoint *where_out)
{
	struct sockaddr_storage sa;
	struct endpoint any = { .port = port };
	socklen_t len;
	assert_int_equal(addr_parse(span_of(address), &any.addr), 0);
	int fd = socket(family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	len = endpoint_to_sockaddr(&any, &sa);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	len = sizeof sa;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, where_out), 0);
	return fd;
}

static bool is_connected(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int err = 0;
	socklen_t len = sizeof err;
	if (poll(&p, 1, wait_ms) != 1)
		return false;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	return err == 0;
}

static void connect_again(int fd, const struct endpoint *to)
{
	struct sockaddr_storage sa;
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	assert_int_equal(connect(fd, &nobody, sizeof nobody), 0);
	socklen_t len = endpoint_to_sockaddr(to, &sa);
	assert_true(connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS);
}

static void hears_one_peer(enum addr_family family, const char *from, const char *address, const char *other)
{
	struct endpoint local = { .port = 0 }, peer, other_port, other_addr;
	struct reason why = { "" };
	const int off = 0;
	int fd = -1;
	assert_int_equal(addr_parse(span_of(from), &local.addr), 0);
	const int first = listen_on(family, address, 0, &peer);
	int listeners[] = { first, listen_on(family, address, 0, &other_port), other ? listen_on(family, other, peer.port, &other_addr) : -1 };
	int err = outgoing_connect_from(&local.addr, false, 0, &peer, &fd, &why);
	if (err == ERR_PERM)
		skip();
	assert_int_equal(err, 0);
	assert_true(is_connected(fd, PATIENCE_MS));

	connect_again(fd, &other_port);
	assert_false(is_connected(fd, NEVER_MS));
	if (other) {
		connect_again(fd, &other_addr);
		assert_false(is_connected(fd, NEVER_MS));
	}
	/* The filter stays. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &off, sizeof off), -1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &off, sizeof off), -1);
	connect_again(fd, &peer);
	assert_true(is_connected(fd, PATIENCE_MS));

	(void)close(fd);
	for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++)
		if (listeners[i] >= 0)
			(void)close(listeners[i]);
}

static void v4_hears_one_peer(void **state)
{
	(void)state;
	hears_one_peer(ADDR_V4, "127.0.0.1", "127.0.0.2", "127.0.0.3");
}

static void v6_hears_one_peer(void **state)
{
	(void)state;
	hears_one_peer(ADDR_V6, "::1", "::1", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(v4_hears_one_peer), cmocka_unit_test(v6_hears_one_peer) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
