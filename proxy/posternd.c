/* posternd.c - the program: the master, or one of its roles when the master executes it again. */
#include <string.h>

#include "daemon.h"
#include "master.h"
#include "options.h"
#include "priv.h"
#include "role_messages.h"
#include "role_session.h"

int main(int argc, char **argv)
{
	static struct options options;
	priv_start_process();
	if (argc == 2 && strcmp(argv[1], SESSION_ROLE_ARG) == 0)
		return role_session_run();
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
