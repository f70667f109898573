#include "cli_daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "committed_notice.h"
#include "spool_dir.h"

const char *cli_daemon_name(enum cli_daemon daemon)
{
	return daemon == CLI_POSTERND ? "posternd" : "posternfwd";
}

/* Does somebody listen?  control_ask alone could not tell a missing daemon from a daemon that says "no such message". */
static int knock(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int err = 0;
	if (fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof *sa) != 0)
		err = errno;
	if (fd >= 0)
		(void)close(fd);
	return err;
}

int cli_daemon_ask(const char *spool, enum cli_daemon daemon, const char *request, const struct control_answer *answer, bool *is_running_out,
		   struct reason *why)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const char *name = cli_daemon_name(daemon);
	int n = snprintf(sa.sun_path, sizeof sa.sun_path, "%s/%s", spool, daemon == CLI_POSTERND ? SPOOL_CTL_SOCKET : SPOOL_FWD_CTL_SOCKET);
	*is_running_out = false;
	if (n < 0 || (size_t)n >= sizeof sa.sun_path)
		return reason_set(why, ERR_TOOLONG, "%s: too long for a socket's path", spool);
	int errnum = knock(&sa);
	if (errnum == EACCES || errnum == EPERM)
		return reason_set(why, ERR_PERM, "%s may be asked by root only: %s: %s", name, sa.sun_path, strerror(errnum));
	if (errnum == ENOENT || errnum == ECONNREFUSED || errnum == ENOTDIR)
		return reason_set(why, ERR_REFUSED, "%s does not run (nobody listens at %s)", name, sa.sun_path);
	if (errnum)
		return reason_set(why, err_from_errno(errnum), "%s cannot be asked: %s: %s", name, sa.sun_path, strerror(errnum));
	*is_running_out = true;
	int err = control_ask(sa.sun_path, request, CLI_ASK_TIMEOUT_MS, answer, why);
	return err ? reason_prefix(why, err, "%s", name) : 0;
}
