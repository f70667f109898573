#include "cli_rules_stats.h"

#include "cli_daemon.h"
#include "cli_record.h"
#include "cli_table.h"

static void take_rule(void *ctx, struct span line)
{
	char what[CLI_WHAT_CAP];
	json_t *rule = cli_record_parse(line);
	if (!rule)
		return;
	(void)cli_record_take_what(rule, what);
	(void)json_array_append_new(ctx, rule);
}

enum cli_exit cli_rules_stats(int argc, char **argv, struct cli_options *options)
{
	static const struct cli_column columns[] = { { "line", "LINE" }, { "hits", "HITS" }, { "action", "ACTION" } };
	char spool[CONF_PATH_CAP];
	struct reason why = { "" };
	bool is_running;
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code == CLI_OK && rest < argc) {
		cli_complain("rules stats takes no '%s'; see postern help", argv[rest]);
		code = CLI_USAGE;
	}
	if (code == CLI_OK)
		code = cli_options_spool(options, spool);
	if (code != CLI_OK)
		return code;
	json_t *rules = json_array();
	const struct control_answer answer = { .line = take_rule, .ctx = rules };
	int err = cli_daemon_ask(spool, CLI_POSTERND, "rules stats", &answer, &is_running, &why);
	if (err)
		cli_complain("%s", why.text);
	else if (options->json)
		cli_json_write(rules);
	else
		cli_table_print(rules, columns, sizeof columns / sizeof columns[0]);
	json_decref(rules);
	return !err ? CLI_OK : !is_running && err == ERR_REFUSED ? CLI_NOT_RUNNING : CLI_FAILED;
}
