#include "check_children.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LIST_BYTES 16384u /* more are found at the next look: each death brings one */

int check_children_open_prepriv(void)
{
	char path[64];
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)gettid());
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void look(pid_t pid, bool (*is_command)(void *ctx, pid_t pid), void *ctx)
{
	/* A child that nobody has waited for can't be somebody else by now. */
	if (!is_command(ctx, pid) && !is_command(ctx, getsid(pid)))
		(void)kill(pid, SIGKILL);
}

void check_children_kill_strays(int children_fd, bool (*is_command)(void *ctx, pid_t pid), void *ctx)
{
	char list[LIST_BYTES], *at = list, *end;
	ssize_t n = children_fd < 0 ? -1 : pread(children_fd, list, sizeof list - 1, 0);
	if (n <= 0)
		return;
	list[n] = '\0';
	for (long pid = strtol(at, &end, 10); end != at && *end == ' '; pid = strtol(at, &end, 10)) {
		if (pid > 1)
			look((pid_t)pid, is_command, ctx);
		at = end;
	}
}
