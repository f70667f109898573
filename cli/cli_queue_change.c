#include "cli_queue_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli_daemon.h"
#include "cli_queue_files.h"
#include "cli_record.h"

/* Ids in one question: control.h caps a question. */
#define IDS_A_QUESTION 200

struct change {
	const char *spool, *verb;
	struct cli_queue_counts counts;
	bool is_counted; /* the daemon has said how many */
};

/* ---- posternfwd does it */

static void take_line(void *ctx, struct span line)
{
	struct change *c = ctx;
	char what[CLI_WHAT_CAP];
	json_t *record = cli_record_parse(line);
	if (record && strcmp(cli_record_take_what(record, what), "changed") == 0) {
		c->is_counted = true;
		c->counts.matched += (uint64_t)cli_record_number(record, "matched");
		c->counts.done += (uint64_t)cli_record_number(record, "done");
		c->counts.busy += (uint64_t)cli_record_number(record, "busy");
		c->counts.failed += (uint64_t)cli_record_number(record, "failed");
	}
	json_decref(record);
}

/* One question; CLI_NOT_RUNNING says nothing, anything else that is wrong was said. */
static enum cli_exit ask(struct change *c, const char *behind_verb, struct reason *away)
{
	const struct control_answer answer = { .line = take_line, .ctx = c };
	struct buf question = { .cap = CONTROL_REQUEST_CAP + 1 };
	bool is_running = true;
	int err = buf_printf(&question, "queue %s %s", c->verb, behind_verb);
	if (!err)
		err = buf_append(&question, "", 1);
	if (err)
		reason_set(away, err, "that is too much for one question");
	else
		err = cli_daemon_ask(c->spool, CLI_POSTERNFWD, question.data, &answer, &is_running, away);
	buf_free(&question);
	if (err && !is_running && err == ERR_REFUSED)
		return CLI_NOT_RUNNING;
	if (err)
		cli_complain("%s", away->text);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit ask_ids(struct change *c, int count, char **ids, struct reason *away)
{
	enum cli_exit code = CLI_OK;
	for (int i = 0; i < count && code != CLI_NOT_RUNNING;) {
		struct buf words = { .cap = CONTROL_REQUEST_CAP };
		int err = 0;
		for (int n = 0; n < IDS_A_QUESTION && i < count && !err; n++)
			err = buf_printf(&words, "%s ", ids[i++]);
		if (!err)
			err = buf_append(&words, "", 1);
		enum cli_exit one = err ? CLI_FAILED : ask(c, words.data, away);
		code = one == CLI_OK ? code : one;
		buf_free(&words);
	}
	return code;
}

static enum cli_exit ask_some(struct change *c, const struct cli_queue_select *select, struct reason *away)
{
	struct buf words = { .cap = CONTROL_REQUEST_CAP };
	int err = select->filter.len ? buf_printf(&words, "where %.*s", SPAN_FMT(buf_span(&select->filter))) : buf_printf(&words, "all");
	if (!err)
		err = buf_append(&words, "", 1);
	enum cli_exit code = err ? CLI_FAILED : ask(c, words.data, away);
	buf_free(&words);
	return code;
}

/* ---- it does not run */

static enum cli_exit change_files(struct change *c, int count, char **ids, const struct cli_queue_select *select, const struct reason *away)
{
	static struct queue_filter filter; /* large */
	struct reason why = { "" };
	struct buf line = { .cap = 2 * CONTROL_REQUEST_CAP };
	int err = 0;
	if (count == 0) {
		err = buf_printf(&line, "verb=%s %.*s", c->verb, SPAN_FMT(buf_span(&select->filter)));
		if (!err)
			err = queue_filter_parse(buf_span(&line), &filter, &why);
	}
	if (!err)
		err = cli_queue_files_change(c->spool, c->verb, count ? NULL : &filter, (size_t)count, ids, &c->counts, &why);
	buf_free(&line);
	if (err) {
		cli_complain("%s; %s", away->text, why.text[0] ? why.text : err_name(err));
		return CLI_NOT_RUNNING;
	}
	c->is_counted = true;
	cli_complain("%s: done to the files in the spool", away->text);
	if (c->counts.in_journal)
		cli_complain("%" PRIu64 " of them in the journal, which only posternfwd changes: start it, then %s again", c->counts.in_journal, c->verb);
	return c->counts.failed || c->counts.in_journal ? CLI_FAILED : CLI_OK;
}

/* ---- what was done */

static void tell(const struct change *c, bool is_json)
{
	static const struct {
		const char *verb, *past;
	} words[] = { { "hold", "held" }, { "release", "released" }, { "retry", "to be tried now" }, { "delete", "deleted" } };
	const struct cli_queue_counts *n = &c->counts;
	const char *past = c->verb;
	if (is_json) {
		json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I}", "verb", c->verb, "matched", (json_int_t)n->matched, "done", (json_int_t)n->done,
					 "busy", (json_int_t)n->busy, "failed", (json_int_t)(n->failed + n->in_journal));
		cli_json_write(json);
		json_decref(json);
		return;
	}
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		past = strcmp(words[i].verb, c->verb) == 0 ? words[i].past : past;
	(void)printf("%" PRIu64 " message%s %s", n->done, n->done == 1 ? "" : "s", past);
	if (n->busy)
		(void)printf(", %" PRIu64 " being delivered at this moment", n->busy);
	if (n->failed + n->in_journal)
		(void)printf(", %" PRIu64 " not", n->failed + n->in_journal);
	(void)putchar('\n');
}

enum cli_exit cli_queue_change(const char *spool, const char *verb, int count, char **ids, const struct cli_queue_select *select, bool is_json)
{
	struct change c = { .spool = spool, .verb = verb };
	struct reason away = { "" };
	enum cli_exit code = count ? ask_ids(&c, count, ids, &away) : ask_some(&c, select, &away);
	if (code == CLI_NOT_RUNNING)
		code = change_files(&c, count, ids, select, &away);
	if (c.is_counted)
		tell(&c, is_json);
	return code;
}
