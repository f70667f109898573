#include "cli_queue.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "cli_daemon.h"
#include "cli_queue_files.h"
#include "cli_queue_print.h"
#include "cli_text.h"

/* Ids in one question: control.h caps a question. */
#define IDS_A_QUESTION 200

struct job {
	const char *verb;
	char spool[CONF_PATH_CAP];
	enum cli_queue_form form;
	int count;       /* words behind the verb */
	char **words;    /* ids, checked; or "all" */
};

struct verb {
	const char *name;
	int min_words, max_words;
	bool takes_all;
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

static enum cli_exit answered(int err, const struct reason *why)
{
	if (err)
		cli_complain("%s", why->text);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit list(const struct job *job)
{
	struct cli_queue_printer printer;
	const struct control_answer answer = { .line = cli_queue_list_line, .ctx = &printer };
	struct reason away = { "" }, why = { "" };
	size_t damaged = 0;
	bool is_running;
	enum cli_exit code;
	cli_queue_list_begin(&printer, job->form);
	int err = cli_daemon_ask(job->spool, CLI_POSTERNFWD, "queue list", &answer, &is_running, &away);
	if (!is_running && err == ERR_REFUSED) {
		err = cli_queue_files_list(job->spool, &answer, &damaged, &why);
		code = from_files(err, &away, &why);
	} else {
		code = answered(err, &away);
	}
	cli_queue_list_end(&printer, err == 0);
	if (damaged)
		cli_complain("%zu damaged places in the spool: posternfwd saves them in %s/bad when it starts", damaged, job->spool);
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

/* ---- changes: only posternfwd makes them, it is the one writer of the queue */

static void print_line(void *ctx, struct span line)
{
	(void)ctx;
	cli_text_put(stdout, line);
	(void)putchar('\n');
}

static enum cli_exit change(const struct job *job)
{
	const struct control_answer answer = { .line = print_line };
	enum cli_exit code = CLI_OK;
	for (int i = 0; i < job->count && code != CLI_NOT_RUNNING;) {
		struct buf question = { .cap = CONTROL_REQUEST_CAP };
		struct reason why = { "" };
		bool is_running;
		int err = buf_printf(&question, "queue %s", job->verb);
		for (int n = 0; n < IDS_A_QUESTION && i < job->count && !err; n++)
			err = buf_printf(&question, " %s", job->words[i++]);
		if (!err)
			err = buf_append(&question, "", 1);
		if (err) {
			cli_complain("no memory");
			buf_free(&question);
			return CLI_FAILED;
		}
		err = cli_daemon_ask(job->spool, CLI_POSTERNFWD, question.data, &answer, &is_running, &why);
		buf_free(&question);
		if (err && !is_running && err == ERR_REFUSED) {
			cli_complain("%s: only posternfwd changes the queue; start it, then %s again", why.text, job->verb);
			code = CLI_NOT_RUNNING;
		} else if (err) {
			cli_complain("%s", why.text);
			code = CLI_FAILED;
		}
	}
	return code;
}

/* ---- command line */

static const struct verb verbs[] = {
	{ "list", 0, 0, false, list },	     { "show", 1, 1, false, show },	  { "cat", 1, 1, false, cat },
	{ "delete", 1, 100000, false, change }, { "retry", 1, 100000, true, change }, { "hold", 1, 100000, false, change },
	{ "release", 1, 100000, false, change },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static enum cli_exit check_words(const struct verb *verb, int count, char **words)
{
	struct spool_id id;
	if (count < verb->min_words) {
		cli_complain("queue %s needs the ID of a message%s; postern queue list shows them", verb->name, verb->takes_all ? " or the word all" : "");
		return CLI_USAGE;
	}
	if (count > verb->max_words) {
		cli_complain("queue %s: '%s' is one word too many", verb->name, words[verb->max_words]);
		return CLI_USAGE;
	}
	for (int i = 0; i < count; i++) {
		if (verb->takes_all && count == 1 && strcmp(words[i], "all") == 0)
			continue;
		if (spool_id_parse(span_of(words[i]), &id) != 0) {
			cli_complain("queue %s: '%s' is no message ID; postern queue list shows them", verb->name, words[i]);
			return CLI_USAGE;
		}
	}
	return CLI_OK;
}

enum cli_exit cli_queue(int argc, char **argv, struct cli_options *options)
{
	struct job job = { .verb = NULL };
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code != CLI_OK)
		return code;
	const struct verb *verb = rest < argc ? find_verb(argv[rest]) : NULL;
	if (!verb) {
		if (rest < argc)
			cli_complain("queue has no '%s': it is list, show, cat, delete, retry, hold or release", argv[rest]);
		else
			cli_complain("queue what? list, show, cat, delete, retry, hold or release");
		return CLI_USAGE;
	}
	job.verb = verb->name;
	job.form = options->json ? CLI_QUEUE_JSON : CLI_QUEUE_TEXT;
	job.count = argc - rest - 1;
	job.words = argv + rest + 1;
	code = check_words(verb, job.count, job.words);
	if (code == CLI_OK)
		code = cli_options_spool(options, job.spool);
	return code == CLI_OK ? verb->run(&job) : code;
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
