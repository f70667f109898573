/* The system call filter: what a session worker must not do fails, what it needs works. */
#include "priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitized.h"

static unsigned wrong;
static int listener;

#define FORBIDDEN(call) forbidden((long)(call), #call)
#define WORKS(call) works((long)(call), #call)

static void forbidden(long result, const char *call)
{
	if (result >= 0 || errno != EPERM) {
		(void)dprintf(STDERR_FILENO, "not forbidden: %s\n", call);
		wrong++;
	}
}

static void works(long result, const char *call)
{
	if (result < 0) {
		(void)dprintf(STDERR_FILENO, "does not work: %s (%d)\n", call, errno);
		wrong++;
	}
}

static void *other_thread(void *ctx)
{
	return ctx;
}

/* In a child under the filter; its exit status counts what was not as it should be. */
static void run_under(int (*restrict_it)(unsigned flags), unsigned flags, void (*body)(void))
{
	int status = -1;
	if (IS_SANITIZED)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		if (restrict_it(flags) != 0)
			_exit(99);
		body();
		_exit((int)wrong);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int as_worker(unsigned flags)
{
	return priv_restrict_calls(flags, NULL);
}

static int as_program(unsigned flags)
{
	(void)flags;
	return priv_restrict_programs(NULL);
}

static void run(unsigned flags, void (*body)(void))
{
	run_under(as_worker, flags, body);
}

static void new_things(void)
{
	char *argv[] = { (char *)(uintptr_t) "/bin/true", NULL };
	FORBIDDEN(open("/etc/passwd", O_RDONLY));
	FORBIDDEN(open("/tmp", O_TMPFILE | O_WRONLY, 0600));
	FORBIDDEN(mkdir("/tmp/postern-test", 0700));
	FORBIDDEN(unlink("/tmp/postern-test"));
	FORBIDDEN(execve("/bin/true", argv, argv + 1));
	FORBIDDEN(fork());
	FORBIDDEN(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
	FORBIDDEN(memfd_create("x", 0));
	FORBIDDEN(socket(AF_INET, SOCK_STREAM, 0));
	FORBIDDEN(socket(AF_UNIX, SOCK_STREAM, 0));
	FORBIDDEN(shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600));
	FORBIDDEN(syscall(SYS_mq_open, "postern", O_CREAT | O_RDWR, 0600, NULL));
	FORBIDDEN(syscall(SYS_io_uring_setup, 1, NULL));
}

static void other_processes(void)
{
	struct rlimit limit = { 0, 0 };
	FORBIDDEN(kill(getppid(), 0));
	FORBIDDEN(kill(getpid(), SIGKILL));
	FORBIDDEN(syscall(SYS_tkill, getppid(), 0));
	FORBIDDEN(syscall(SYS_tgkill, getppid(), getppid(), 0));
	FORBIDDEN(syscall(SYS_pidfd_open, getppid(), 0));
	FORBIDDEN(syscall(SYS_prlimit64, getppid(), RLIMIT_NOFILE, NULL, &limit));
	FORBIDDEN(setrlimit(RLIMIT_NOFILE, &limit));
	FORBIDDEN(setpriority(PRIO_PROCESS, 0, 1));
}

static void shared_descriptors(void)
{
	const int on = 1;
	struct { unsigned short len; const void *filter; } program = { 0, NULL };
	FORBIDDEN(ioctl(STDERR_FILENO, TIOCSTI, "x"));
	FORBIDDEN(shutdown(listener, SHUT_RD));
	FORBIDDEN(shutdown(listener, SHUT_RDWR));
	FORBIDDEN(listen(listener, 0));
	FORBIDDEN(setsockopt(listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program));
	FORBIDDEN(setsockopt(listener, SOL_SOCKET, SO_MARK, &on, sizeof on));
	FORBIDDEN(fcntl(listener, F_SETOWN, getppid()));
	FORBIDDEN(fchmod(STDERR_FILENO, 0777));
}

static void needed(void)
{
	const int on = 1;
	int error, fds[2] = { -1, -1 };
	socklen_t len = sizeof error;
	struct stat st;
	struct rlimit limit;
	pthread_t thread;
	WORKS(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
	WORKS(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &on, sizeof on));
	WORKS(getsockopt(listener, SOL_SOCKET, SO_ERROR, &error, &len));
	WORKS(pipe2(fds, O_CLOEXEC | O_NONBLOCK));
	WORKS(write(fds[1], "x", 1));
	WORKS(fstat(fds[0], &st));
	WORKS(fcntl(fds[0], F_DUPFD_CLOEXEC, 3));
	WORKS(getrlimit(RLIMIT_STACK, &limit));
	WORKS(memfd_create("x", MFD_CLOEXEC));
	WORKS(-pthread_create(&thread, NULL, other_thread, NULL));
	WORKS(-pthread_join(thread, NULL));
	void *mem = mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	WORKS(mem == MAP_FAILED ? -1 : 0);
	void *large = malloc(64u << 20);
	WORKS(large ? 0 : -1);
	free(large);
	(void)signal(SIGUSR1, SIG_IGN);
	WORKS(-raise(SIGUSR1));
}

static void connecting(void)
{
	WORKS(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	WORKS(fd);
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_port = htons(1), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0 && errno == EPERM)
		works(-1, "connect");
	FORBIDDEN(socket(AF_UNIX, SOCK_STREAM, 0));
	FORBIDDEN(socket(AF_NETLINK, SOCK_RAW, 0));
	FORBIDDEN(open("/etc/passwd", O_RDONLY));
}

/* What a program of the administrator's may do, and what not: its children inherit it. */
static void programs(void)
{
	int status = 0;
	FORBIDDEN(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	FORBIDDEN(unshare(CLONE_NEWUSER));
	FORBIDDEN(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
	FORBIDDEN(mount("x", "/nonexistent", "tmpfs", 0, NULL));
	FORBIDDEN(chroot("/"));
	FORBIDDEN(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
	FORBIDDEN(syscall(SYS_bpf, 0, NULL, 0));
	FORBIDDEN(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
	FORBIDDEN(ioctl(STDERR_FILENO, TIOCSTI, "x"));
	WORKS(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	WORKS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	WORKS(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	pid_t pid = fork();
	if (pid == 0) {
		(void)execl("/bin/sh", "sh", "-c", "ls / >/dev/null; ! unshare -U true 2>/dev/null", (char *)NULL);
		_exit(99);
	}
	WORKS(pid);
	WORKS(waitpid(pid, &status, 0));
	WORKS(status == 0 ? 0 : -1);
}

static void test_programs(void **state)
{
	(void)state;
	run_under(as_program, 0, programs);
}

static void test_new_things(void **state)
{
	(void)state;
	run(0, new_things);
}

static void test_other_processes(void **state)
{
	(void)state;
	run(0, other_processes);
}

static void test_shared_descriptors(void **state)
{
	(void)state;
	run(0, shared_descriptors);
}

static void test_needed(void **state)
{
	(void)state;
	run(0, needed);
}

static void test_connecting(void **state)
{
	(void)state;
	run(PRIV_MAY_CONNECT, connecting);
}

static void test_abort_ends_it(void **state)
{
	int status = 0;
	(void)state;
	if (IS_SANITIZED)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		const struct rlimit no_core = { 0, 0 };
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)signal(SIGABRT, SIG_DFL);
		(void)priv_restrict_calls(0, NULL);
		abort();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_empty_directory(void **state)
{
	char dir[] = "/tmp/postern-priv-XXXXXX", path[64], link[64];
	int fd = -1;
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/empty", dir);
	(void)snprintf(link, sizeof link, "%s/link", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(symlink("/etc", link), 0);
	assert_int_equal(priv_open_empty_prepriv(link, &fd, NULL) < 0, 1);
	if (geteuid() == 0) {
		assert_int_equal(priv_open_empty_prepriv(path, &fd, NULL), 0);
		(void)close(fd);
		assert_int_equal(chmod(path, 0777), 0);
		assert_int_equal(priv_open_empty_prepriv(path, &fd, NULL), ERR_PERM);
		assert_int_equal(chmod(path, 0755), 0);
		assert_int_equal(chown(path, 65534, 65534), 0);
	}
	assert_int_equal(priv_open_empty_prepriv(path, &fd, NULL), ERR_PERM);
	(void)unlink(link);
	(void)rmdir(path);
	(void)rmdir(dir);
}

/* The gate: sockets that it has, and nothing new. */
static void gate_calls(void)
{
	struct sockaddr_in somewhere = { .sin_family = AF_INET };
	FORBIDDEN(open("/etc/passwd", O_RDONLY));
	FORBIDDEN(socket(AF_INET, SOCK_STREAM, 0));
	FORBIDDEN(socket(AF_NETLINK, SOCK_RAW, 12));
	FORBIDDEN(connect(listener, (struct sockaddr *)&somewhere, sizeof somewhere));
	FORBIDDEN(accept4(listener, NULL, NULL, 0));
	FORBIDDEN(bind(listener, (struct sockaddr *)&somewhere, sizeof somewhere));
	FORBIDDEN(kill(getppid(), 0));
	FORBIDDEN(setuid(0));
	WORKS(memfd_create("sets", MFD_CLOEXEC));
	WORKS(getpid());
}

static void test_gate(void **unused)
{
	int status = -1;
	(void)unused;
	if (IS_SANITIZED)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		if (priv_restrict_gate(NULL) != 0)
			_exit(99);
		gate_calls();
		_exit((int)wrong);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_new_things), cmocka_unit_test(test_other_processes), cmocka_unit_test(test_shared_descriptors),
		cmocka_unit_test(test_needed),     cmocka_unit_test(test_connecting),      cmocka_unit_test(test_abort_ends_it),
		cmocka_unit_test(test_empty_directory), cmocka_unit_test(test_programs),
	};
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || listen(listener, 1) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
