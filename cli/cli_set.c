#include "cli_set.h"

#include <stdio.h>
#include <string.h>

#include "cli_daemon.h"
#include "cli_record.h"

#define REQUEST_CAP 256

/* A set may hold hundreds of thousands: each is printed as it comes. */
struct listing {
	bool is_json;
	size_t count;
};

static void print_text(const json_t *record, bool is_first)
{
	long long expires_in = cli_record_number(record, "expires_in");
	char expires[32] = "never";
	if (is_first)
		(void)printf("%-11s %-40s %12s  %s\n", "SET", "ADDRESS", "EXPIRES IN", "STATE");
	if (cli_record_number(record, "expires"))
		(void)snprintf(expires, sizeof expires, "%lld s", expires_in);
	(void)printf("%-11s %-40s %12s  %s\n", cli_record_text(record, "set"), cli_record_text(record, "address"), expires,
		     cli_record_text(record, "state"));
}

static void take_line(void *ctx, struct span line)
{
	struct listing *l = ctx;
	json_t *record = cli_record_parse(line);
	if (!record)
		return;
	if (l->is_json) {
		(void)fputs(l->count ? ",\n" : "[\n", stdout);
		(void)json_dumpf(record, stdout, 0);
	} else {
		print_text(record, l->count == 0);
	}
	l->count++;
	json_decref(record);
}

static void end_listing(const struct listing *l)
{
	if (l->is_json)
		(void)puts(l->count ? "\n]" : "[]");
}

/* The daemon knows what sets and addresses there are; here only what would not be one question. */
static enum cli_exit make_request(int argc, char **argv, char request[REQUEST_CAP])
{
	static const struct {
		const char *verb;
		int min, max;
		const char *usage;
	} verbs[] = {
		{ "list", 0, 8, "postern set list [SET ...]" },
		{ "add", 2, 3, "postern set add SET ADDRESS [TIME]" },
		{ "del", 2, 2, "postern set del SET ADDRESS" },
	};
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (argc < 1 || strcmp(argv[0], verbs[i].verb) != 0)
			continue;
		if (argc - 1 < verbs[i].min || argc - 1 > verbs[i].max) {
			cli_complain("expected %s", verbs[i].usage);
			return CLI_USAGE;
		}
		size_t len = (size_t)snprintf(request, REQUEST_CAP, "set");
		for (int w = 0; w < argc && len < REQUEST_CAP; w++) {
			if (!argv[w][0] || strpbrk(argv[w], " \t\r\n")) {
				cli_complain("'%s' is no word; expected %s", argv[w], verbs[i].usage);
				return CLI_USAGE;
			}
			len += (size_t)snprintf(request + len, REQUEST_CAP - len, " %s", argv[w]);
		}
		if (len < REQUEST_CAP)
			return CLI_OK;
		cli_complain("that is too long");
		return CLI_USAGE;
	}
	cli_complain("expected postern set list, add or del; see postern help");
	return CLI_USAGE;
}

enum cli_exit cli_set(int argc, char **argv, struct cli_options *options)
{
	char spool[CONF_PATH_CAP], request[REQUEST_CAP] = "";
	struct reason why = { "" };
	bool is_running;
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code == CLI_OK)
		code = make_request(argc - rest, argv + rest, request);
	if (code == CLI_OK)
		code = cli_options_spool(options, spool);
	if (code != CLI_OK)
		return code;
	struct listing listing = { .is_json = options->json && strncmp(request, "set list", 8) == 0 };
	const struct control_answer answer = { .line = take_line, .ctx = &listing };
	int err = cli_daemon_ask(spool, CLI_POSTERND, request, &answer, &is_running, &why);
	if (!err)
		end_listing(&listing);
	else
		cli_complain("%s", why.text);
	return !err ? CLI_OK : !is_running && err == ERR_REFUSED ? CLI_NOT_RUNNING : CLI_FAILED;
}
