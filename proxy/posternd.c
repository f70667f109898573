/* posternd.c - the program: the master, or one of its roles when the master executes it again. */
#include <malloc.h>
#include <string.h>

#include "checker_messages.h"
#include "daemon.h"
#include "gate_messages.h"
#include "master.h"
#include "options.h"
#include "priv.h"
#include "role_checker.h"
#include "role_gate.h"
#include "role_messages.h"
#include "role_session.h"

#define RULES_BLOCK_BYTES (1 << 20)

int main(int argc, char **argv)
{
	static struct options options;
	priv_start_process();
	/* Blocks of large rule sets go back to the system with the set.  By itself malloc would take the first one that is freed for a sign that
	 * more will follow, and keep what it gets: after some reloads of a million entries, many times what they need. */
	(void)mallopt(M_MMAP_THRESHOLD, RULES_BLOCK_BYTES);
	/* As malloc would choose by itself beside it, so that the buffers of messages come and go without the kernel. */
	(void)mallopt(M_TRIM_THRESHOLD, 2 * RULES_BLOCK_BYTES);
	if (argc == 2 && strcmp(argv[1], SESSION_ROLE_ARG) == 0)
		return role_session_run();
	if (argc == 2 && strcmp(argv[1], GATE_ROLE_ARG) == 0)
		return role_gate_run();
	if (argc == 2 && strcmp(argv[1], CHECKER_ROLE_ARG) == 0)
		return role_checker_run();
	if (argc == 2 && strcmp(argv[1], LOGGER_ROLE_ARG) == 0)
		return daemon_logger_run("posternd");
	switch (options_read(argc, argv, &options)) {
	case OPTIONS_EXIT_OK: return 0;
	case OPTIONS_USAGE: return 2;
	case OPTIONS_FAILED: return 1;
	case OPTIONS_RUN: break;
	}
	return master_run(&options);
}
