/* postern.c - the program: everything an administrator asks.  Called as smtpd-mailq it lists the queue. */
#include <stdio.h>
#include <string.h>

#include "cli_check.h"
#include "cli_filter.h"
#include "cli_options.h"
#include "cli_queue.h"
#include "cli_rules.h"
#include "cli_rules_stats.h"
#include "cli_set.h"
#include "cli_status.h"
#include "cli_verify.h"

static enum cli_exit run_rules(int argc, char **argv, struct cli_options *options)
{
	if (argc > 1 && strcmp(argv[1], "stats") == 0)
		return cli_rules_stats(argc - 1, argv + 1, options);
	if (!options->conf_path && !options->spool)
		return (enum cli_exit)cli_rules(argc, argv);
	cli_complain("only rules stats takes -f and -d: name the rule file, or use postern check");
	return CLI_USAGE;
}

static enum cli_exit run_help(int argc, char **argv, struct cli_options *options)
{
	(void)argc;
	(void)argv;
	(void)options;
	cli_usage();
	return CLI_OK;
}

static const struct command {
	const char *name;
	enum cli_exit (*run)(int argc, char **argv, struct cli_options *options);
} commands[] = {
	{ "status", cli_status }, { "queue", cli_queue }, { "check", cli_check }, { "rules", run_rules }, { "filter", cli_filter }, { "verify", cli_verify }, { "set", cli_set }, { "help", run_help },
};

static enum cli_exit run(int argc, char **argv)
{
	struct cli_options options = { 0 };
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, true, &options, &rest);
	if (code != CLI_OK)
		return code;
	if (rest == argc) {
		cli_complain("say what to do: status, queue, check, rules, filter, verify or set; see postern help");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strcmp(commands[i].name, argv[rest]) == 0)
			return commands[i].run(argc - rest, argv + rest, &options);
	cli_complain("unknown command '%s'; see postern help", argv[rest]);
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";
	enum cli_exit code = strcmp(name, "smtpd-mailq") == 0 ? cli_queue_mailq(argc, argv) : run(argc, argv);
	/* A full disk behind a redirection is a failure, too. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK)
		code = CLI_FAILED;
	return code == CLI_DONE ? CLI_OK : (int)code;
}
