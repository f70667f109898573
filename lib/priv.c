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

#include "sanitized.h"
#include "span.h"

#if IS_SANITIZED
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

int priv_open_empty_prepriv(const char *path, int *fd_out, struct reason *why)
{
	struct stat st;
	int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH)) {
		(void)close(fd);
		return reason_set(why, ERR_PERM, "%s: must be root's, and writable by nobody else", path);
	}
	*fd_out = fd;
	return 0;
}

static int enter_chroot(int fd, struct reason *why)
{
	if (fchdir(fd) != 0 || chroot(".") != 0 || chdir("/") != 0)
		return reason_set(why, err_from_errno(errno), "chroot: %s", strerror(errno));
	(void)close(fd);
	return 0;
}

int priv_drop(const struct priv_plan *plan, struct reason *why)
{
	const struct priv_user *u = &plan->user;
	int err = plan->has_chroot ? enter_chroot(plan->chroot_fd, why) : 0;
	if (err)
		return err;
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
#if IS_SANITIZED
	has_dropped = 1;
#endif
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
	(void)sigaction(SIGHUP, &ignore, NULL);
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
