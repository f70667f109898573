#include "cli_status.h"

#include <stdio.h>
#include <string.h>

#include "cli_daemon.h"
#include "cli_record.h"
#include "cli_table.h"
#include "cli_text.h"

/* Where a record of each daemon goes.  Plural groups are arrays; others are one object. */
struct group {
	const char *what;
	const char *member;
	bool is_array;
};

static const struct group groups[] = {
	{ "daemon", "daemon", false }, { "worker", "workers", true }, { "checker", "checker", false }, { "listener", "listeners", true },
	{ "gate", "gate", false }, { "milter", "milters", true }, { "counters", "counters", false }, { "spool", "spool", false },
};

static void daemon_line(void *ctx, struct span line)
{
	json_t *status = ctx, *record = cli_record_parse(line);
	char what[CLI_WHAT_CAP];
	if (!record)
		return;
	cli_record_take_what(record, what);
	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		if (strcmp(groups[i].what, what) != 0)
			continue;
		if (groups[i].is_array)
			(void)json_array_append(json_object_get(status, groups[i].member), record);
		else
			(void)json_object_set(status, groups[i].member, record);
	}
	json_decref(record);
}

/* All of it in one object; further kinds of records become arrays under their name. */
static void forwarder_line(void *ctx, struct span line)
{
	json_t *forwarder = ctx, *record = cli_record_parse(line);
	char what[CLI_WHAT_CAP], member[CLI_WHAT_CAP + 1];
	if (!record)
		return;
	cli_record_take_what(record, what);
	if (!what[0] || strcmp(what, "forwarder") == 0) {
		(void)json_object_update(forwarder, record);
	} else {
		(void)snprintf(member, sizeof member, "%ss", what);
		if (!json_is_array(json_object_get(forwarder, member)))
			(void)json_object_set_new(forwarder, member, json_array());
		(void)json_array_append(json_object_get(forwarder, member), record);
	}
	json_decref(record);
}

static void print_heading(const char *text)
{
	(void)printf("\n%s\n", text);
}

static void print_spool(const json_t *spool)
{
	char free_space[CLI_SIZE_CAP], limit[CLI_SIZE_CAP];
	if (json_object_size(spool) == 0)
		return;
	print_heading("spool");
	(void)printf("  accepting    %s\n", cli_record_text(spool, "accepting"));
	(void)printf("  free space   %s (refuses below %s)\n",
		     cli_text_size((unsigned long long)cli_record_number(spool, "free_bytes"), free_space),
		     cli_text_size((unsigned long long)cli_record_number(spool, "min_free_bytes"), limit));
	/* A file system that does not count its inodes has "more than a number can say". */
	if (json_is_integer(json_object_get(spool, "free_inodes")))
		(void)printf("  free inodes  %lld (refuses below %lld)\n", cli_record_number(spool, "free_inodes"),
			     cli_record_number(spool, "min_free_inodes"));
}

static void print_daemon(const json_t *status)
{
	static const struct cli_column workers[] = { { "worker", "WORKER" },	 { "pid", "PID" },	     { "state", "STATE" },
						     { "sessions", "SESSIONS" }, { "restarts", "RESTARTS" }, { "rules", "RULES" }, { "forwarder", "FORWARDER" } };
	static const struct cli_column listeners[] = { { "interface", "INTERFACE" }, { "family", "FAMILY" },   { "mode", "MODE" },
						       { "port", "PORT" },	      { "trust", "TRUST" },     { "when_dead", "WHEN DEAD" },
						       { "switch", "SWITCH" },        { "forward", "FORWARD" },
						       { "identity", "IDENTITY" } };
	static const struct cli_column milters[] = { { "name", "MILTER" },	     { "address", "ADDRESS" },	     { "state", "STATE" },	     { "fail", "FAIL" },
						     { "asked", "ASKED" },	     { "refused", "REFUSED" },	     { "discarded", "DISCARDED" },
						     { "quarantined", "QUARANTINED" }, { "changed", "CHANGED" },	     { "failures", "FAILURES" },
						     { "last_error", "LAST ERROR" } };
	(void)puts("posternd");
	cli_pairs_print(json_object_get(status, "daemon"));
	print_heading("workers");
	cli_table_print(json_object_get(status, "workers"), workers, sizeof workers / sizeof workers[0]);
	if (json_object_get(status, "checker")) {
		print_heading("checker");
		cli_pairs_print(json_object_get(status, "checker"));
	}
	print_heading("listeners");
	cli_table_print(json_object_get(status, "listeners"), listeners, sizeof listeners / sizeof listeners[0]);
	print_heading("gate");
	cli_pairs_print(json_object_get(status, "gate"));
	if (json_array_size(json_object_get(status, "milters")) > 0) {
		print_heading("milters");
		cli_table_print(json_object_get(status, "milters"), milters, sizeof milters / sizeof milters[0]);
	}
	print_heading("counters");
	cli_pairs_print(json_object_get(status, "counters"));
	print_spool(json_object_get(status, "spool"));
}

/* Records of a kind that this program knows nothing about: one line each. */
static void print_array(const json_t *rows)
{
	size_t i;
	json_t *row, *value;
	const char *key;
	json_array_foreach(rows, i, row) {
		(void)fputs("  ", stdout);
		json_object_foreach(row, key, value) {
			struct buf text = { 0 };
			if (cli_record_format(value, &text) == 0)
				(void)printf("%s=%.*s  ", key, SPAN_FMT(buf_span(&text)));
			buf_free(&text);
		}
		(void)putchar('\n');
	}
}

static void print_forwarder(json_t *forwarder)
{
	const char *key;
	json_t *value;
	(void)puts("posternfwd");
	cli_pairs_print(forwarder);
	json_object_foreach(forwarder, key, value) {
		if (!json_is_array(value))
			continue;
		print_heading(key);
		print_array(value);
	}
}

/* True when it answered.  A daemon that does not run is a fact of the status, which the JSON says by null; anything else is an error. */
static bool ask(const char *spool, enum cli_daemon daemon, const struct control_answer *answer, bool json, enum cli_exit *code)
{
	struct reason why = { "" };
	bool is_running;
	int err = cli_daemon_ask(spool, daemon, "status", answer, &is_running, &why);
	if (!err)
		return true;
	bool is_away = !is_running && err == ERR_REFUSED;
	if (!is_away || !json)
		cli_complain("%s", why.text);
	if (!is_away)
		*code = CLI_FAILED;
	else if (daemon == CLI_POSTERND)
		*code = CLI_NOT_RUNNING;
	return false;
}

enum cli_exit cli_status(int argc, char **argv, struct cli_options *options)
{
	char spool[CONF_PATH_CAP];
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code == CLI_OK && rest < argc) {
		cli_complain("status takes no '%s'; see postern help", argv[rest]);
		code = CLI_USAGE;
	}
	if (code == CLI_OK)
		code = cli_options_spool(options, spool);
	if (code != CLI_OK)
		return code;

	json_t *status = json_pack("{s:n, s:[], s:[], s:{}, s:[], s:{}, s:{}}", "daemon", "workers", "listeners", "gate", "milters", "counters", "spool");
	json_t *forwarder = json_object();
	const struct control_answer daemon_answer = { .line = daemon_line, .ctx = status };
	const struct control_answer forwarder_answer = { .line = forwarder_line, .ctx = forwarder };
	bool has_daemon = ask(spool, CLI_POSTERND, &daemon_answer, options->json, &code);
	bool has_forwarder = ask(spool, CLI_POSTERNFWD, &forwarder_answer, options->json, &code);
	(void)json_object_set(status, "forwarder", has_forwarder ? forwarder : json_null());
	if (options->json) {
		cli_json_write(status);
	} else {
		if (has_daemon)
			print_daemon(status);
		if (has_daemon && has_forwarder)
			(void)putchar('\n');
		if (has_forwarder)
			print_forwarder(forwarder);
	}
	json_decref(forwarder);
	json_decref(status);
	return code;
}
