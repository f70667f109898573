#include "cli_options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli_text.h"

static const char usage[] =
	"usage: postern [-f CONF | -d SPOOL] COMMAND\n"
	"  status [--json]             what posternd and posternfwd are doing\n"
	"  queue list [FILTER...] [--json]   the mail that is not delivered yet\n"
	"  queue stats [--by destination|sender|client] [FILTER...] [--json]   how long it has waited, in minutes\n"
	"  queue show ID [--json]      one message: envelope, recipients, what happened so far\n"
	"  queue cat ID                its text\n"
	"  queue delete WHICH          forget it, and tell nobody\n"
	"  queue retry WHICH           try it now\n"
	"  queue hold WHICH            keep it until it is released\n"
	"  queue release WHICH\n"
	"      WHICH: ID..., or FILTER... [--dry-run], or --all [--dry-run]\n"
	"      FILTER: --from --to --client --destination --error --state PATTERN, --older --younger AGE, --larger --smaller SIZE\n"
	"  check [-f CONF]             is the configuration good, are the rules and the content filter?\n"
	"  rules check [FILE]          are these rules good?\n"
	"  rules explain ...           what would the rules decide, and why?\n"
	"  rules replay ...            what would other rules have decided about the mail of this log?\n"
	"  rules stats [--json]        how often has each rule matched?\n"
	"  filter check FILE           is this file of the content filter good?\n"
	"  filter try [--filter FILE] MESSAGE...   what would it do with these messages?\n"
	"  verify flush [RECIPIENT...] [--json]   ask servers anew whether they know recipients\n"
	"  set list [SET...] [--json]    what is in the kernel's sets of clients: pass, block, tarpit, block_net\n"
	"  set add SET ADDRESS [TIME]    put an address or a network in, for a time\n"
	"  set del SET ADDRESS           take it out\n"
	"  help, --version\n"
	"-f CONF   configuration (" CLI_DEFAULT_CONF ")\n"
	"-d SPOOL  a spool directory without a configuration\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon does not run.\n";

void cli_usage(void)
{
	(void)fputs(usage, stdout);
}

void cli_complain(const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	(void)fputs("postern: ", stderr);
	cli_text_put(stderr, span_of(text));
	(void)fputc('\n', stderr);
}

static enum cli_exit unknown_option(const char *word)
{
	/* getopt points at the word of a long option, but keeps a short one to itself: there may be more in its word. */
	if (optopt)
		cli_complain("unknown option '-%c'; see postern help", optopt);
	else
		cli_complain("unknown option '%s'; see postern help", word);
	return CLI_USAGE;
}

enum cli_exit cli_options_take(int argc, char **argv, bool is_strict, struct cli_options *options, int *rest_out)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 }
	};
	int c;
	optind = 0; /* a fresh start: getopt is used more than once */
	opterr = 0;
	while ((c = getopt_long(argc, argv, is_strict ? "+:f:d:hV" : ":f:d:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'f': options->conf_path = optarg; break;
		case 'd': options->spool = optarg; break;
		case 'j': options->json = true; break;
		case 'h': cli_usage(); return CLI_DONE;
		case 'V': (void)puts("postern " POSTERN_VERSION); return CLI_DONE;
		case ':': cli_complain("-%c needs a value; see postern help", optopt); return CLI_USAGE;
		default: return unknown_option(argv[optind - 1]);
		}
	}
	if (options->conf_path && options->spool) {
		cli_complain("-f names a configuration and -d a spool: one of them, please");
		return CLI_USAGE;
	}
	*rest_out = optind;
	return CLI_OK;
}

enum cli_exit cli_options_spool(const struct cli_options *options, char path[CONF_PATH_CAP])
{
	static struct conf conf; /* large */
	struct reason why;
	if (options->spool) {
		if (span_to_cstr(span_of(options->spool), path, CONF_PATH_CAP) == 0)
			return CLI_OK;
		cli_complain("-d: the path is too long: at most %d bytes", CONF_PATH_CAP - 1);
		return CLI_FAILED;
	}
	if (conf_read(options->conf_path ? options->conf_path : CLI_DEFAULT_CONF, &conf, &why) != 0) {
		cli_complain("%s%s", why.text, options->conf_path ? "" : " (-f CONF names another configuration, -d SPOOL a spool without one)");
		return CLI_FAILED;
	}
	(void)snprintf(path, CONF_PATH_CAP, "%s", conf.spool);
	return CLI_OK;
}
