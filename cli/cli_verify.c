#include "cli_verify.h"

#include <stdio.h>
#include <string.h>

#include "cli_daemon.h"
#include "cli_record.h"
#include "cli_text.h"

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

/* path: NULL for all.  With or without the brackets that logs and listings show. */
static enum cli_exit flush(const char *spool, const char *path, json_t *forgotten)
{
	size_t skip = path && path[0] == '<', path_len = path ? strlen(path) : 0;
	const struct control_answer answer = { .line = take_forgotten, .ctx = forgotten };
	char request[CONTROL_REQUEST_CAP];
	struct reason why = { "" };
	bool is_running;
	if (skip && path[path_len - 1] == '>')
		path_len--;
	int len = snprintf(request, sizeof request, "verify flush%s%.*s", path ? " " : "", (int)(path_len - skip), path ? path + skip : "");
	if (len < 0 || (size_t)len >= sizeof request || (path && (path_len <= skip || strpbrk(path, " \t\r\n")))) {
		cli_complain("verify flush: '%s' is no recipient; expected an address such as someone@example.org", path);
		return CLI_USAGE;
	}
	size_t before = json_array_size(forgotten);
	int err = cli_daemon_ask(spool, CLI_POSTERNFWD, request, &answer, &is_running, &why);
	if (err)
		cli_complain("%s", why.text);
	for (size_t i = before; path && i < json_array_size(forgotten); i++)
		(void)json_object_set_new(json_array_get(forgotten, i), "recipient", json_string(path));
	return !err ? CLI_OK : !is_running && err == ERR_REFUSED ? CLI_NOT_RUNNING : CLI_FAILED;
}

static void print_forgotten(const json_t *record)
{
	const char *recipient = cli_record_text(record, "recipient");
	long long count = cli_record_number(record, "forgotten");
	cli_text_put(stdout, span_of(recipient));
	(void)printf("%s%lld answer%s forgotten\n", recipient[0] ? ": " : "", count, count == 1 ? "" : "s");
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
		print_forgotten(json_array_get(forgotten, i));
	json_decref(forgotten);
	return code;
}
