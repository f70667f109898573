#include "cli_queue.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "cli_daemon.h"
#include "cli_queue_change.h"
#include "cli_queue_files.h"
#include "cli_queue_print.h"
#include "cli_queue_select.h"
#include "cli_queue_stats.h"

struct job {
	const char *verb;
	char spool[CONF_PATH_CAP];
	enum cli_queue_form form;
	int count;       /* words behind the verb */
	char **words;    /* ids, checked */
	struct cli_queue_select select;
};

enum { TAKES_FILTER = 1, IS_CHANGE = 2, TAKES_BY = 4 };

struct verb {
	const char *name;
	int min_words, max_words;
	unsigned flags;
	enum cli_exit (*run)(const struct job *job);
};

/* ---- what both ways of asking share */

/* The answer came from the files and not from posternfwd. */
static enum cli_exit from_files(int err, const struct reason *away, const struct reason *why)
{
	if (err) {
		cli_complain("%s; %s", away->text, why->text);
		return err == ERR_NOTFOUND ? CLI_FAILED : CLI_NOT_RUNNING;
	}
	cli_complain("%s: this is what the files in the spool say", away->text);
	return CLI_NOT_RUNNING;
}

/* A good answer may have words, too: that it is not whole yet. */
static enum cli_exit answered(int err, const struct reason *why)
{
	if (why->text[0])
		cli_complain("%s", why->text);
	return err ? CLI_FAILED : CLI_OK;
}

/* "list" or "brief" with the filter; only: further pairs in front of it. */
static enum cli_exit ask_list(const struct job *job, const char *verb, const char *only, const struct control_answer *answer, bool *is_whole_out)
{
	static struct queue_filter filter; /* large */
	struct reason away = { "" }, why = { "" };
	struct buf question = { .cap = CONTROL_REQUEST_CAP + 1 };
	size_t damaged = 0;
	bool is_running = true;
	enum cli_exit code;
	int err = buf_printf(&question, "queue %s", verb);
	size_t before = question.len;
	if (!err && (job->select.filter.len || only[0]))
		err = buf_printf(&question, " where %s%.*s", only, SPAN_FMT(buf_span(&job->select.filter)));
	if (!err)
		err = buf_append(&question, "", 1);
	if (err)
		reason_set(&away, err, "that is too much for one question");
	else
		err = cli_daemon_ask(job->spool, CLI_POSTERNFWD, question.data, answer, &is_running, &away);
	if (err && !is_running && err == ERR_REFUSED) {
		struct span line = span_sub(buf_span(&question), before + strlen(" where "), question.len - 1);
		err = queue_filter_parse(line, &filter, &why);
		if (!err)
			err = cli_queue_files_list(job->spool, &filter, answer, &damaged, &why);
		code = from_files(err, &away, &why);
	} else {
		code = answered(err, &away);
	}
	buf_free(&question);
	*is_whole_out = err == 0;
	if (damaged)
		cli_complain("%zu damaged places in the spool: posternfwd saves them in %s/bad when it starts", damaged, job->spool);
	return code;
}

static enum cli_exit list(const struct job *job)
{
	struct cli_queue_printer printer;
	const struct control_answer answer = { .line = cli_queue_list_line, .ctx = &printer };
	bool is_whole;
	cli_queue_list_begin(&printer, job->form);
	printer.has_filter = job->select.filter.len > 0;
	enum cli_exit code = ask_list(job, "list", "", &answer, &is_whole);
	cli_queue_list_end(&printer, is_whole);
	return code;
}

static enum cli_exit stats(const struct job *job)
{
	struct cli_queue_stats stats;
	const struct control_answer answer = { .line = cli_queue_stats_line, .ctx = &stats };
	bool is_whole;
	cli_queue_stats_begin(&stats, job->select.by);
	enum cli_exit code = ask_list(job, job->select.by == CLI_BY_DESTINATION ? "brief" : "list", "", &answer, &is_whole);
	cli_queue_stats_end(&stats, job->form == CLI_QUEUE_JSON, is_whole);
	return code;
}

static enum cli_exit show(const struct job *job)
{
	struct cli_queue_printer printer;
	const struct control_answer answer = { .line = cli_queue_show_line, .ctx = &printer };
	struct reason away = { "" }, why = { "" };
	struct spool_id id;
	char question[64];
	bool is_running;
	cli_queue_show_begin(&printer, job->form);
	(void)spool_id_parse(span_of(job->words[0]), &id);
	(void)snprintf(question, sizeof question, "queue show %s", id.text);
	int err = cli_daemon_ask(job->spool, CLI_POSTERNFWD, question, &answer, &is_running, &away);
	bool is_away = !is_running && err == ERR_REFUSED;
	if (is_away)
		err = cli_queue_files_show(job->spool, &id, &answer, &why);
	if (err)
		printer.form = CLI_QUEUE_TEXT; /* nothing rather than an empty object */
	cli_queue_show_end(&printer);
	(void)fflush(stdout);
	return is_away ? from_files(err, &away, &why) : answered(err, &away);
}

static enum cli_exit cat(const struct job *job)
{
	const struct control_answer answer = { .bytes = cli_queue_cat_bytes };
	struct reason away = { "" }, why = { "" };
	struct spool_id id;
	char question[64];
	bool is_running;
	(void)spool_id_parse(span_of(job->words[0]), &id);
	(void)snprintf(question, sizeof question, "queue cat %s", id.text);
	int err = cli_daemon_ask(job->spool, CLI_POSTERNFWD, question, &answer, &is_running, &away);
	bool is_away = !is_running && err == ERR_REFUSED;
	if (is_away)
		err = cli_queue_files_cat(job->spool, &id, &answer, &why);
	(void)fflush(stdout);
	return is_away ? from_files(err, &away, &why) : answered(err, &away);
}

/* What would be changed. */
static enum cli_exit dry_run(const struct job *job)
{
	struct cli_queue_printer printer;
	const struct control_answer answer = { .line = cli_queue_list_line, .ctx = &printer };
	char only[32];
	bool is_whole;
	(void)snprintf(only, sizeof only, "verb=%s ", job->verb);
	cli_queue_list_begin(&printer, job->form);
	printer.has_filter = true;
	enum cli_exit code = ask_list(job, "list", only, &answer, &is_whole);
	cli_queue_list_end(&printer, is_whole);
	if (is_whole && job->form == CLI_QUEUE_TEXT)
		(void)printf("--dry-run: nothing was done; without it: %s\n", job->verb);
	return code;
}

static enum cli_exit change(const struct job *job)
{
	if (job->select.is_dry_run)
		return dry_run(job);
	return cli_queue_change(job->spool, job->verb, job->count, job->words, &job->select, job->form == CLI_QUEUE_JSON);
}

/* ---- command line */

static const struct verb verbs[] = {
	{ "list", 0, 0, TAKES_FILTER, list },
	{ "stats", 0, 0, TAKES_FILTER | TAKES_BY, stats },
	{ "show", 1, 1, 0, show },
	{ "cat", 1, 1, 0, cat },
	{ "delete", 0, 100000, TAKES_FILTER | IS_CHANGE, change },
	{ "retry", 0, 100000, TAKES_FILTER | IS_CHANGE, change },
	{ "hold", 0, 100000, TAKES_FILTER | IS_CHANGE, change },
	{ "release", 0, 100000, TAKES_FILTER | IS_CHANGE, change },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

/* A change names its messages in exactly one way: a slip of the hand must not delete the queue. */
static enum cli_exit check_selection(const struct verb *verb, const struct job *job)
{
	const struct cli_queue_select *select = &job->select;
	bool is_change = (verb->flags & IS_CHANGE) != 0, has_filter = select->filter.len > 0;
	if (has_filter && !(verb->flags & TAKES_FILTER)) {
		cli_complain("queue %s takes the ID of one message and no filter", verb->name);
		return CLI_USAGE;
	}
	if ((select->all || select->is_dry_run) && !is_change) {
		cli_complain("queue %s changes nothing: --all and --dry-run are for hold, release, retry and delete", verb->name);
		return CLI_USAGE;
	}
	if (select->has_by && !(verb->flags & TAKES_BY)) {
		cli_complain("queue %s: --by is for queue stats", verb->name);
		return CLI_USAGE;
	}
	if (!is_change)
		return CLI_OK;
	if ((job->count > 0) + has_filter + select->all != 1) {
		cli_complain("queue %s: say which: IDs of messages, filters (--from, --older, ...) or --all, one of the three", verb->name);
		return CLI_USAGE;
	}
	if (job->count > 0 && select->is_dry_run) {
		cli_complain("queue %s: --dry-run shows what a filter takes; with IDs there is nothing to find out", verb->name);
		return CLI_USAGE;
	}
	return CLI_OK;
}

static enum cli_exit check_words(const struct verb *verb, int count, char **words)
{
	struct spool_id id;
	if (count < verb->min_words) {
		cli_complain("queue %s needs the ID of a message; postern queue list shows them", verb->name);
		return CLI_USAGE;
	}
	if (count > verb->max_words) {
		cli_complain("queue %s: '%s' is one word too many", verb->name, words[verb->max_words]);
		return CLI_USAGE;
	}
	for (int i = 0; i < count; i++) {
		if (spool_id_parse(span_of(words[i]), &id) != 0) {
			cli_complain("queue %s: '%s' is no message ID; postern queue list shows them", verb->name, words[i]);
			return CLI_USAGE;
		}
	}
	return CLI_OK;
}

static enum cli_exit run(int argc, char **argv, struct cli_options *options, struct job *job)
{
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code != CLI_OK)
		return code;
	const struct verb *verb = rest < argc ? find_verb(argv[rest]) : NULL;
	if (!verb) {
		if (rest < argc)
			cli_complain("queue has no '%s': it is list, stats, show, cat, delete, retry, hold or release", argv[rest]);
		else
			cli_complain("queue what? list, stats, show, cat, delete, retry, hold or release");
		return CLI_USAGE;
	}
	job->verb = verb->name;
	job->form = options->json ? CLI_QUEUE_JSON : CLI_QUEUE_TEXT;
	job->count = argc - rest - 1;
	job->words = argv + rest + 1;
	/* The old word for it. */
	if (verb->run == change && strcmp(verb->name, "retry") == 0 && job->count == 1 && strcmp(job->words[0], "all") == 0) {
		job->select.all = true;
		job->count = 0;
	}
	code = check_words(verb, job->count, job->words);
	if (code == CLI_OK)
		code = check_selection(verb, job);
	if (code == CLI_OK)
		code = cli_options_spool(options, job->spool);
	return code == CLI_OK ? verb->run(job) : code;
}

enum cli_exit cli_queue(int argc, char **argv, struct cli_options *options)
{
	struct job job = { .verb = NULL };
	enum cli_exit code = cli_queue_select_take(&argc, argv, &job.select);
	if (code == CLI_OK)
		code = run(argc, argv, options, &job);
	buf_free(&job.select.filter);
	return code;
}

enum cli_exit cli_queue_mailq(int argc, char **argv)
{
	struct cli_options options = { 0 };
	struct job job = { .verb = "list", .form = CLI_QUEUE_MAILQ };
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, &options, &rest);
	if (code != CLI_OK)
		return code;
	if (rest < argc) {
		cli_complain("'%s': smtpd-mailq takes [-f CONF | -d SPOOL] [--json] only", argv[rest]);
		return CLI_USAGE;
	}
	if (options.json)
		job.form = CLI_QUEUE_JSON;
	code = cli_options_spool(&options, job.spool);
	return code == CLI_OK ? list(&job) : code;
}
