/* What systemd is told, by both kinds of socket name, and when standard error counts as the journal. */
#include "supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket with that name, bound; name[0] '@' stands for the zero of an abstract one. */
static int listen_at(const char *name)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	memcpy(at.sun_path, name, strlen(name));
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] != '@'));
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, len), 0);
	return fd;
}

static void is_heard(const char *name)
{
	char text[64];
	int fd = listen_at(name);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	supervisor_tell("READY=1");
	assert_int_equal(recv(fd, text, sizeof text, 0), 7);
	assert_memory_equal(text, "READY=1", 7);
	(void)close(fd);
}

static void tells(void **state)
{
	char dir[] = "/tmp/postern-notify-XXXXXX", name[108];
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(name, sizeof name, "%s/notify", dir);
	is_heard(name);
	(void)unlink(name);
	(void)rmdir(dir);
	(void)snprintf(name, sizeof name, "@postern-test-notify-%ld", (long)getpid());
	is_heard(name);
	(void)unsetenv("NOTIFY_SOCKET");
}

/* Nobody there, or no name of a socket: nothing happens, and no descriptor is lost. */
static void does_without(void **state)
{
	char longest[200] = "/";
	const char *const names[] = { NULL, "", "/", "@", "relative", "/nowhere/notify", longest };
	(void)state;
	memset(longest + 1, 'x', sizeof longest - 2);
	int next = dup(STDERR_FILENO);
	assert_int_equal(close(next), 0);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		assert_int_equal(names[i] ? setenv("NOTIFY_SOCKET", names[i], 1) : unsetenv("NOTIFY_SOCKET"), 0);
		supervisor_tell("READY=1");
	}
	(void)unsetenv("NOTIFY_SOCKET");
	assert_int_equal(dup(STDERR_FILENO), next);
	assert_int_equal(close(next), 0);
}

static void knows_the_journal(void **state)
{
	char stream[64];
	struct stat st;
	(void)state;
	(void)unsetenv("JOURNAL_STREAM");
	assert_false(supervisor_has_stderr());
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	assert_true(supervisor_has_stderr());
	/* Of the service that a shell was started from, whose standard error is another. */
	(void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	assert_false(supervisor_has_stderr());
	assert_int_equal(setenv("JOURNAL_STREAM", "journal", 1), 0);
	assert_false(supervisor_has_stderr());
	(void)unsetenv("JOURNAL_STREAM");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells),
		cmocka_unit_test(does_without),
		cmocka_unit_test(knows_the_journal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
