#include "cli_verify.h"

#include <stdio.h>
#include <string.h>

#include "cli_daemon.h"
#include "cli_record.h"

/* json: an array of what each question forgot. */
static void take_forgotten(void *ctx, struct span line)
{
	char what[CLI_WHAT_CAP];
	json_t *record = cli_record_parse(line);
	if (!record)
		return;
	(void)cli_record_take_what(record, what);
	(void)json_array_append_new(ctx, record);
}

static enum cli_exit flush(const char *spool, const char *path, json_t *forgotten)
{
	const struct control_answer answer = { .line = take_forgotten, .ctx = forgotten };
	char request[CONTROL_REQUEST_CAP];
	struct reason why = { "" };
	bool is_running;
	int len = snprintf(request, sizeof request, "verify flush%s%s", path ? " " : "", path ? path : "");
	if (len < 0 || (size_t)len >= sizeof request) {
		cli_complain("that is no recipient");
		return CLI_USAGE;
	}
	int err = cli_daemon_ask(spool, CLI_POSTERNFWD, request, &answer, &is_running, &why);
	if (err)
		cli_complain("%s", why.text);
	return !err ? CLI_OK : !is_running && err == ERR_REFUSED ? CLI_NOT_RUNNING : CLI_FAILED;
}

enum cli_exit cli_verify(int argc, char **argv, struct cli_options *options)
{
	char spool[CONF_PATH_CAP];
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code == CLI_OK && (rest == argc || strcmp(argv[rest], "flush") != 0)) {
		cli_complain("verify knows one command: flush [RECIPIENT...]");
		code = CLI_USAGE;
	}
	if (code == CLI_OK)
		code = cli_options_spool(options, spool);
	if (code != CLI_OK)
		return code;
	json_t *forgotten = json_array();
	rest++;
	if (rest == argc)
		code = flush(spool, NULL, forgotten);
	for (; code == CLI_OK && rest < argc; rest++)
		code = flush(spool, argv[rest], forgotten);
	if (code == CLI_OK && options->json)
		cli_json_write(forgotten);
	for (size_t i = 0; code == CLI_OK && !options->json && i < json_array_size(forgotten); i++)
		(void)printf("%lld answers forgotten\n", cli_record_number(json_array_get(forgotten, i), "forgotten"));
	json_decref(forgotten);
	return code;
}
