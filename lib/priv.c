#include "priv.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "span.h"

#if defined(__SANITIZE_ADDRESS__)
#define PRIV_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRIV_SANITIZED 1
#endif
#endif
#ifndef PRIV_SANITIZED
#define PRIV_SANITIZED 0
#endif

#if PRIV_SANITIZED
/* LeakSanitizer asks this at the exit.  A process that has dropped everything cannot trace itself any more, and would end with an error
 * that means nothing. */
static int has_dropped;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return has_dropped;
}
#endif

int priv_lookup_prepriv(const char *user, const char *group, struct priv_user *out, struct reason *why)
{
	struct priv_user found = { 0, 0 };
	uint64_t number;
	struct passwd *pw = getpwnam(user);
	if (pw) {
		found.uid = pw->pw_uid;
		found.gid = pw->pw_gid;
	} else if (span_to_u64(span_of(user), UINT32_MAX - 1, &number) == 0) {
		found.uid = (uid_t)number;
		pw = getpwuid(found.uid);
		found.gid = pw ? pw->pw_gid : (gid_t)number;
	} else {
		return reason_set(why, ERR_NOTFOUND, "there is no user '%s': create it (useradd --system --no-create-home %s) or name another", user,
				  user);
	}
	if (group && group[0]) {
		struct group *gr = getgrnam(group);
		if (gr)
			found.gid = gr->gr_gid;
		else if (span_to_u64(span_of(group), UINT32_MAX - 1, &number) == 0)
			found.gid = (gid_t)number;
		else
			return reason_set(why, ERR_NOTFOUND, "there is no group '%s': create it (groupadd --system %s) or name another", group, group);
	}
	if (found.uid == 0)
		return reason_set(why, ERR_INVAL, "user '%s' is root: name one without rights", user);
	*out = found;
	return 0;
}

bool priv_is_root(void)
{
	return geteuid() == 0;
}

static int set_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)keep, .permitted = (uint32_t)keep },
		{ .effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32) },
	};
	return (int)syscall(SYS_capset, &header, data);
}

static int drop_bounding_set(uint64_t keep)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			return -1;
	return 0;
}

int priv_drop(const struct priv_plan *plan, struct reason *why)
{
	const struct priv_user *u = &plan->user;
	if (plan->chroot_dir && (chroot(plan->chroot_dir) != 0 || chdir("/") != 0))
		return reason_set(why, err_from_errno(errno), "chroot to %s: %s", plan->chroot_dir, strerror(errno));
	if (!plan->runs_setid_programs && drop_bounding_set(plan->keep_caps) != 0)
		return reason_set(why, err_from_errno(errno), "dropping the capability bounding set: %s", strerror(errno));
	if (plan->keep_caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
		return reason_set(why, err_from_errno(errno), "keeping capabilities: %s", strerror(errno));
	if (setgroups(0, NULL) != 0 || setresgid(u->gid, u->gid, u->gid) != 0 || setresuid(u->uid, u->uid, u->uid) != 0)
		return reason_set(why, err_from_errno(errno), "becoming uid %u gid %u: %s", (unsigned)u->uid, (unsigned)u->gid, strerror(errno));
	if (set_capabilities(plan->keep_caps) != 0)
		return reason_set(why, err_from_errno(errno), "setting capabilities: %s", strerror(errno));
	if (!plan->runs_setid_programs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return reason_set(why, err_from_errno(errno), "no new privileges: %s", strerror(errno));
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return reason_set(why, ERR_PERM, "root rights came back after they were dropped");
#if PRIV_SANITIZED
	has_dropped = 1;
#endif
	return 0;
}

/* A session worker asks DNS servers and ident itself: a process between would see every question, and one turn of the loop more would pass for
 * each.  So it may make Internet sockets, and only these: no unix sockets (the control sockets of our own and other daemons), no
 * netlink, no packets; and none that listen.  Which addresses it connects to can't be seen from here: they stand behind a pointer.  A
 * socketpair could be connected to a unix path, so there is none either.  libseccomp compares an argument once a rule, hence three. */
static int forbid_other_sockets(scmp_filter_ctx filter)
{
	int failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_LT, AF_INET));
	if (failed == 0)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_INET6));
	for (unsigned family = AF_INET + 1; family < AF_INET6 && failed == 0; family++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
	return failed;
}

int priv_forbid_opening(struct reason *why)
{
	static const int forbidden[] = {
		SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(execve), SCMP_SYS(execveat),
		SCMP_SYS(socketpair), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
		SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
		SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
		SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
		SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(pidfd_getfd),
		SCMP_SYS(open_by_handle_at), SCMP_SYS(userfaultfd),
	};
	/* The sanitizers open files and trace threads themselves when they report. */
	if (PRIV_SANITIZED)
		return 0;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter)
		return reason_set(why, ERR_NOMEM, "system call filter: no memory");
	int failed = 0;
	for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0] && failed == 0; i++)
		failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), forbidden[i], 0);
	if (failed == 0)
		failed = forbid_other_sockets(filter);
	if (failed == 0)
		failed = seccomp_load(filter);
	seccomp_release(filter);
	if (failed)
		return reason_set(why, err_from_errno(-failed), "system call filter: %s", strerror(-failed));
	return 0;
}

void priv_start_process(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3)
		fd = dup(fd);
	if (fd >= 3)
		(void)close(fd);
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)umask(077);
	tzset();
}

uint64_t priv_raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	return (uint64_t)limit.rlim_cur;
}
