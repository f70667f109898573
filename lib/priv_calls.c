/* The system calls that a restricted role may make.  Found by watching the session workers through the whole test suite; what is missing
 * shows as EPERM in strace -f. */
#include "priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sanitized.h"

/* Of IPv4 and of IPv6: where a redirected connection wanted to go (netfilter's headers do not go together with the system's). */
#define ORIGINAL_DST 80

/* One argument has to have this value in the bits of the mask. */
struct condition {
	uint64_t mask; /* 0: no condition */
	unsigned arg;
	uint64_t value;
};

struct allowed {
	int call;
	unsigned flag; /* of priv.h, that it needs; 0: always */
	struct condition first, second;
};

/* Of an argument that is an int the upper half of the register means nothing. */
#define INT(arg, value) { UINT_MAX, arg, (uint64_t)(value) }
#define BITS(arg, bits) { (uint64_t)(bits), arg, (uint64_t)(bits) }
#define NONE { 0, 0, 0 }
#define NULL_POINTER(arg) { UINT64_MAX, arg, 0 }
#define CALL(name) { SCMP_SYS(name), 0, NONE, NONE }
#define CALL_IF(name, condition) { SCMP_SYS(name), 0, condition, NONE }
#define CALL_IF2(name, first, second) { SCMP_SYS(name), 0, first, second }
#define CALL_WITH(flag, name) { SCMP_SYS(name), flag, NONE, NONE }
#define CALL_WITH_IF(flag, name, condition) { SCMP_SYS(name), flag, condition, NONE }

static const struct allowed allowed[] = {
	/* descriptors it was given */
	CALL(read), CALL(readv), CALL(pread64), CALL(write), CALL(writev), CALL(pwrite64), CALL(pwritev), CALL(lseek), CALL(close),
	CALL(fstat), CALL_IF(newfstatat, BITS(3, AT_EMPTY_PATH)), CALL(fstatfs), CALL(fsync), CALL(fdatasync), CALL(ftruncate),
	CALL_IF(fcntl, INT(1, F_GETFD)), CALL_IF(fcntl, INT(1, F_SETFD)), CALL_IF(fcntl, INT(1, F_GETFL)), CALL_IF(fcntl, INT(1, F_SETFL)),
	CALL_IF(fcntl, INT(1, F_DUPFD_CLOEXEC)), CALL_IF(fcntl, INT(1, F_GET_SEALS)),
	/* a message that a check has changed */
	CALL_IF(memfd_create, INT(1, MFD_CLOEXEC)),
	CALL_IF(ioctl, INT(1, FIONBIO)), CALL_IF(ioctl, INT(1, FIONREAD)), CALL_IF(ioctl, INT(1, FIOCLEX)),
	/* sockets it was given: a shutdown for writing does nothing to a listener, which the master and the next worker share */
	CALL(accept4), CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(getsockname), CALL(getpeername),
	CALL_IF(shutdown, INT(1, SHUT_WR)), CALL_IF2(setsockopt, INT(1, IPPROTO_TCP), INT(2, TCP_NODELAY)),
	CALL_IF2(setsockopt, INT(1, IPPROTO_TCP), INT(2, TCP_WINDOW_CLAMP)), CALL_IF2(setsockopt, INT(1, SOL_SOCKET), INT(2, SO_RCVBUF)),
	CALL_IF(getsockopt, INT(1, SOL_SOCKET)), CALL_IF2(getsockopt, INT(1, SOL_IP), INT(2, ORIGINAL_DST)),
	CALL_IF2(getsockopt, INT(1, SOL_IPV6), INT(2, ORIGINAL_DST)),
	/* the loop, and its threads */
	CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(eventfd2), CALL(pipe2), CALL(poll), CALL(ppoll),
	CALL_IF(clone, BITS(0, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)), CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(sched_yield),
	CALL(sched_getaffinity), CALL_IF(prctl, INT(0, PR_SET_NAME)), CALL_IF2(prlimit64, INT(0, 0), NULL_POINTER(2)),
	/* memory, and code compiled for patterns */
	CALL(brk), CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise),
	/* time, chance, itself */
	CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(nanosleep), CALL(clock_nanosleep), CALL(getrandom),
	CALL(getpid), CALL(gettid), CALL(getuid), CALL(geteuid), CALL(getgid), CALL(getegid), CALL(uname), CALL(sysinfo), CALL(getcpu),
	/* signals and the end; tgkill to itself is added below */
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack), CALL(restart_syscall), CALL(exit), CALL(exit_group),
	/* connections of its own */
	CALL_WITH_IF(PRIV_MAY_CONNECT, socket, INT(0, AF_INET)), CALL_WITH_IF(PRIV_MAY_CONNECT, socket, INT(0, AF_INET6)),
	CALL_WITH(PRIV_MAY_CONNECT, connect),
};

static const struct allowed gate_allowed[] = {
	/* netlink sockets and the channel to the master */
	CALL(read), CALL(write), CALL(writev), CALL(close), CALL(recvfrom), CALL(recvmsg), CALL(recvmmsg), CALL(sendto), CALL(sendmsg), CALL(sendmmsg),
	CALL_IF(fcntl, INT(1, F_GETFD)), CALL_IF(fcntl, INT(1, F_SETFD)), CALL_IF(fcntl, INT(1, F_GETFL)), CALL_IF(fcntl, INT(1, F_SETFL)),
	CALL_IF(fcntl, INT(1, F_DUPFD_CLOEXEC)), CALL_IF(fcntl, INT(1, F_GET_SEALS)), CALL_IF(ioctl, INT(1, FIONBIO)),
	CALL_IF(ioctl, INT(1, SIOCGIFNAME)),
	/* texts from and for the master */
	CALL(fstat), CALL_IF(newfstatat, BITS(3, AT_EMPTY_PATH)), CALL(lseek), CALL(pread64), CALL_IF(memfd_create, INT(1, MFD_CLOEXEC)),
	/* the loop, and its threads */
	CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(eventfd2), CALL(pipe2), CALL(poll), CALL(ppoll),
	CALL_IF(clone, BITS(0, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)), CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(sched_yield),
	CALL(sched_getaffinity), CALL_IF(prctl, INT(0, PR_SET_NAME)), CALL_IF2(prlimit64, INT(0, 0), NULL_POINTER(2)),
	/* memory, and code compiled for patterns */
	CALL(brk), CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise),
	/* time, chance, itself, signals, the end */
	CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(nanosleep), CALL(clock_nanosleep), CALL(getrandom),
	CALL(getpid), CALL(gettid), CALL(uname), CALL(sysinfo), CALL(getcpu),
	CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack), CALL(restart_syscall), CALL(exit), CALL(exit_group),
};

static int allow(scmp_filter_ctx filter, const struct allowed *a)
{
	const struct condition *const conditions[] = { &a->first, &a->second };
	struct scmp_arg_cmp args[2];
	unsigned count = 0;
	for (size_t i = 0; i < 2; i++)
		if (conditions[i]->mask)
			args[count++] = (struct scmp_arg_cmp){ conditions[i]->arg, SCMP_CMP_MASKED_EQ, conditions[i]->mask, conditions[i]->value };
	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, a->call, count, args);
}

static int fill(scmp_filter_ctx filter, const struct allowed *list, size_t count, unsigned flags)
{
	/* abort() and raise() */
	const struct allowed own_signals = CALL_IF(tgkill, INT(0, getpid()));
	int failed = allow(filter, &own_signals);
	/* Its flags are in memory, where no filter sees them.  ENOSYS: the C library then takes clone. */
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; failed == 0 && i < count; i++)
		if ((list[i].flag & flags) == list[i].flag)
			failed = allow(filter, &list[i]);
	return failed ? failed : seccomp_load(filter);
}

static int restrict_to(const struct allowed *list, size_t count, unsigned flags, struct reason *why)
{
	if (IS_SANITIZED)
		return 0;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return reason_set(why, ERR_NOMEM, "system call filter: no memory");
	int failed = fill(filter, list, count, flags);
	seccomp_release(filter);
	return failed ? reason_set(why, err_from_errno(-failed), "system call filter: %s", strerror(-failed)) : 0;
}

int priv_restrict_calls(unsigned flags, struct reason *why)
{
	return restrict_to(allowed, sizeof allowed / sizeof allowed[0], flags, why);
}

int priv_restrict_gate(struct reason *why)
{
	return restrict_to(gate_allowed, sizeof gate_allowed / sizeof gate_allowed[0], 0, why);
}

/* ---- roles that run programs */

/* Ways to attack the kernel or a process of the same user, that nobody needs who reads a message. */
static const int denied[] = {
	SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp), SCMP_SYS(pidfd_getfd),
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount),
	SCMP_SYS(fspick), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(mount_setattr), SCMP_SYS(setns), SCMP_SYS(unshare),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(quotactl), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(reboot),
	SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
	SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(add_key), SCMP_SYS(request_key),
	SCMP_SYS(keyctl),
};

static int fill_denied(scmp_filter_ctx filter)
{
	/* Of another architecture everything would be killed: there are scanners for 32 bits. */
	int failed = seccomp_arch_native() == SCMP_ARCH_X86_64 ? seccomp_arch_add(filter, SCMP_ARCH_X86) : 0;
	for (size_t i = 0; failed == 0 && i < sizeof denied / sizeof denied[0]; i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, UINT_MAX, TIOCSTI));
	return failed ? failed : seccomp_load(filter);
}

int priv_restrict_programs(struct reason *why)
{
	if (IS_SANITIZED)
		return 0;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return reason_set(why, ERR_NOMEM, "system call filter: no memory");
	int failed = fill_denied(filter);
	seccomp_release(filter);
	return failed ? reason_set(why, err_from_errno(-failed), "system call filter: %s", strerror(-failed)) : 0;
}
