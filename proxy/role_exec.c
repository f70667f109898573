#include "role_exec.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "role_messages.h"

/* Only what a role can need: the time zone, and what the test suite and the sanitizers look for. */
static void keep_environment(char *out[], size_t cap)
{
	static const char *const kept[] = { "TZ=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "POSTERN_FAULT=" };
	size_t count = 0;
	for (char **e = environ; *e; e++)
		for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
			if (strncmp(*e, kept[i], strlen(kept[i])) == 0 && count + 1 < cap)
				out[count++] = *e;
	out[count] = NULL;
}

void role_exec(int control_fd, const char *title, const char *role_arg)
{
	char *argv[] = { (char *)(uintptr_t)title, (char *)(uintptr_t)role_arg, NULL };
	char *envp[8];
	daemon_leave_terminal();
	keep_environment(envp, sizeof envp / sizeof envp[0]);
	if (control_fd == ROLE_CONTROL_FD)
		(void)fcntl(control_fd, F_SETFD, 0);
	else if (dup2(control_fd, ROLE_CONTROL_FD) < 0)
		_exit(127);
	(void)execve("/proc/self/exe", argv, envp);
	_exit(127);
}
