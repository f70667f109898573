/* priv.h - giving rights away: users, chroot, capabilities, no new privileges, system call filter.
 * What ends in _prepriv must run before priv_drop.  priv_drop can't be undone and checks that it can't.
 */
#ifndef POSTERN_PRIV_H
#define POSTERN_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

struct priv_user {
	uid_t uid;
	gid_t gid;
};

/* user: a name or a number.  group: the same, or empty for the user's own.  uid 0 is refused: no role of ours runs as root. */
int priv_lookup_prepriv(const char *user, const char *group, struct priv_user *out, struct reason *why);

/* May this process do what root does?  (effective uid 0) */
bool priv_is_root(void);

/* An empty directory that only root can write to: a place for a chroot, whoever owns the directories above it and could exchange names
 * there: who uses the descriptor does not depend on them. */
int priv_open_empty_prepriv(const char *path, int *fd_out, struct reason *why);

struct priv_plan {
	struct priv_user user;
	bool has_chroot;
	int chroot_fd;            /* of priv_open_empty_prepriv; closed by the drop */
	uint64_t keep_caps;       /* bits 1 << CAP_*: stay effective after the drop */
	bool runs_setid_programs; /* it starts programs that are set-uid or set-gid (sendmail): these keep what their files give them */
};

/* Enters the chroot, drops the bounding set, groups, gid, uid and all capabilities but keep_caps,
 * and sets no-new-privileges (bounding set and no-new-privileges not with runs_setid_programs).  On failure the process must exit: it may be half way. */
int priv_drop(const struct priv_plan *plan, struct reason *why);

/* The system call filter of a role that works only with descriptors it was given: what is not in the list in priv.c fails with EPERM.
 * No open, no exec, no new process, no socket; signals only to itself.  After priv_drop.
 * PRIV_MAY_CONNECT: it makes connections of its own (AF_INET, AF_INET6). */
enum { PRIV_MAY_CONNECT = 1 };
int priv_restrict_calls(unsigned flags, struct reason *why);

/* The same for the gate, which does nothing but speak over sockets it has, to the kernel and to the master: less is in its list. */
int priv_restrict_gate(struct reason *why);

/* The filter of a role that runs programs of the administrator's, which inherit it: all but what is for debugging and rebuilding a system, and new
 * namespaces.  Such calls fail with EPERM.  After priv_drop. */
int priv_restrict_programs(struct reason *why);

/* SIGPIPE ignored, SIGHUP too until somebody handles it, umask 077, time zone read (a chroot has none), descriptors 0-2 open. */
void priv_start_process(void);

/* Raise the soft limit of open files to the hard one; returns it. */
uint64_t priv_raise_file_limit(void);

#endif
