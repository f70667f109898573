/* Descriptor 2 is a pipe, a terminal, a socket or a file that others share, and nobody reads: no line ever waits, and nothing changes
 * for the others. */
#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define LINES 5000u

/* In a child, so that a wait is only its end by SIGALRM.  Its status says whether lines were lost. */
static int flood(int fd, bool is_reopened)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		(void)alarm(10);
		if (dup2(fd, STDERR_FILENO) < 0)
			_exit(99);
		if (is_reopened)
			log_unblock_prepriv();
		log_setup("flood", LOG_FORM_TERMINAL, LOG_LEVEL_INFO);
		for (unsigned i = 0; i < LINES; i++)
			log_event(LOG_LEVEL_ERR, "flood", "line %u of very many that nobody reads", i);
		_exit(log_lost() ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void flood_pipe(bool is_reopened)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	int flags = fcntl(fds[1], F_GETFL);
	assert_int_equal(flood(fds[1], is_reopened), 1);
	assert_int_equal(fcntl(fds[1], F_GETFL), flags);
	/* It holds what it held, and whole lines only. */
	char text[65536];
	ssize_t n = read(fds[0], text, sizeof text);
	assert_true(n > 0 && text[n - 1] == '\n');
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void pipe_opened_anew(void **state)
{
	(void)state;
	flood_pipe(true);
}

/* Where it could not be opened anew: another user's. */
static void pipe_as_it_is(void **state)
{
	(void)state;
	flood_pipe(false);
}

static void terminal(void **state)
{
	struct termios raw;
	(void)state;
	int ours = posix_openpt(O_RDWR | O_NOCTTY);
	if (ours < 0 || grantpt(ours) != 0 || unlockpt(ours) != 0)
		skip();
	int theirs = open(ptsname(ours), O_RDWR | O_NOCTTY);
	assert_true(theirs >= 0);
	assert_int_equal(tcgetattr(theirs, &raw), 0);
	cfmakeraw(&raw);
	(void)tcsetattr(theirs, TCSANOW, &raw);
	int flags = fcntl(theirs, F_GETFL);
	assert_int_equal(flood(theirs, true), 1);
	assert_int_equal(fcntl(theirs, F_GETFL), flags);
	(void)close(theirs);
	(void)close(ours);
}

static void sockets(void **state)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int fds[2];
		assert_int_equal(socketpair(AF_UNIX, types[i], 0, fds), 0);
		int flags = fcntl(fds[1], F_GETFL);
		assert_int_equal(flood(fds[1], true), 1);
		assert_int_equal(fcntl(fds[1], F_GETFL), flags);
		(void)close(fds[0]);
		(void)close(fds[1]);
	}
}

static void file(void **state)
{
	char path[] = "/tmp/postern-log-XXXXXX";
	(void)state;
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(flood(fd, true), 0);
	assert_true(lseek(fd, 0, SEEK_END) > (off_t)(LINES * 40));
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pipe_opened_anew), cmocka_unit_test(pipe_as_it_is), cmocka_unit_test(terminal),
		cmocka_unit_test(sockets),          cmocka_unit_test(file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
