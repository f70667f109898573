#include "fwd_control.h"

#include <unistd.h>

#include "message_answer.h"
#include "queue_answer.h"
#include "scheduler.h"
#include "startup_scan.h"
#include "verify.h"

#define WORDS_MAX 512u

/* ---- status */

struct held_answer {
	const struct scheduler *scheduler;
	struct control_client *client;
};

static void put_held(void *ctx, const struct destination *d)
{
	const struct held_answer *answer = ctx;
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "what", "problem");
	kv_text(&kv, "destination", destination_key(d));
	kv_text(&kv, "error", destination_error(d));
	kv_u64(&kv, "next_s", destination_probe_s(answer->scheduler, d));
	(void)control_line(answer->client, &kv);
}

static void answer_status(struct forwarder *f, struct control_client *client)
{
	struct scheduler_figures now;
	struct verify_figures verified;
	struct kv kv;
	scheduler_figures(f->scheduler, &now);
	verify_figures(f->verify, &verified);
	kv_init(&kv);
	kv_text(&kv, "what", "forwarder");
	kv_i64(&kv, "pid", getpid());
	kv_i64(&kv, "uptime_s", loop_wall_time() - f->started_time);
	kv_text(&kv, "sockets", broker_is_alive(f->broker) ? "marked" : "plain");
	kv_u64(&kv, "messages", f->messages.count);
	kv_u64(&kv, "still_to_read", startup_scan_left(f));
	kv_u64(&kv, "ready", now.ready);
	kv_u64(&kv, "active", now.active);
	kv_text(&kv, "retries", now.is_load_high ? "wait for a lower load" : "go on");
	kv_u64(&kv, "waiting", now.waiting);
	kv_u64(&kv, "received", f->stats.received);
	kv_u64(&kv, "delivered", f->stats.delivered);
	kv_u64(&kv, "deferred", f->stats.deferred);
	kv_u64(&kv, "bounced", f->stats.bounced);
	kv_u64(&kv, "deleted", f->stats.deleted);
	kv_u64(&kv, "bad", f->stats.bad);
	kv_u64(&kv, "reports", f->stats.reports);
	kv_u64(&kv, "reports_withheld", f->stats.reports_withheld);
	kv_u64(&kv, "attempts", f->stats.attempts);
	kv_u64(&kv, "recipients_delivered", f->stats.recipients_delivered);
	kv_u64(&kv, "recipients_failed", f->stats.recipients_failed);
	kv_u64(&kv, "connections", now.connections);
	kv_u64(&kv, "connections_max", now.connection_max);
	kv_u64(&kv, "connections_idle", now.idle_connections);
	kv_u64(&kv, "connections_made", f->stats.connections);
	kv_u64(&kv, "children", now.children);
	kv_u64(&kv, "destinations", now.destinations);
	kv_u64(&kv, "destinations_down", now.destinations_down);
	kv_u64(&kv, "segments", journal_segment_count(f->journal));
	kv_u64(&kv, "verify_asked", verified.asked);
	kv_u64(&kv, "verify_hits", verified.hits);
	kv_u64(&kv, "verify_yes", verified.yes);
	kv_u64(&kv, "verify_no", verified.no);
	kv_u64(&kv, "verify_unknown", verified.unknown);
	kv_u64(&kv, "verify_entries", verified.entries);
	kv_u64(&kv, "verify_connections", verified.connections);
	int err = control_line(client, &kv);
	scheduler_each_held(f->scheduler, put_held, &(struct held_answer){ f->scheduler, client });
	control_end(client, err, err ? err_name(err) : "");
}

/* ---- questions */

/* "from=... older=...", as it stood behind the verb and "where". */
static bool take_filter(struct span line, struct control_client *client, struct queue_filter *out)
{
	struct reason why = { "" };
	int err = queue_filter_parse(line, out, &why);
	if (err)
		control_end(client, err, why.text);
	return !err;
}

/* Messages to which it can't be done are not meant: nobody wants to release what is not held. */
static void answer_change_some(struct forwarder *f, struct control_client *client, struct span verb, struct span line)
{
	struct queue_filter filter;
	struct buf whole = { .cap = 2 * CONTROL_REQUEST_CAP };
	if (buf_printf(&whole, "verb=%.*s %.*s", SPAN_FMT(verb), SPAN_FMT(line)) != 0)
		control_end(client, ERR_NOMEM, err_name(ERR_NOMEM));
	else if (take_filter(buf_span(&whole), client, &filter))
		queue_answer_change_some(f, client, verb, &filter);
	buf_free(&whole);
}

static void answer_one(struct forwarder *f, struct control_client *client, struct span word,
			void (*answer)(struct forwarder *, struct control_client *, const struct fwd_message *))
{
	struct spool_id id;
	const struct fwd_message *m;
	if (spool_id_parse(word, &id) != 0)
		control_end(client, ERR_SYNTAX, "that is no message id");
	else if ((m = fwd_table_find(&f->messages, &id)) == NULL)
		control_end(client, ERR_NOTFOUND, "no such message");
	else
		answer(f, client, m);
}

static size_t split(struct span rest, struct span *words, size_t max)
{
	struct span word;
	size_t count = 0;
	while (count < max && span_cut(&rest, ' ', &word)) {
		word = span_trim(word);
		if (word.len > 0)
			words[count++] = word;
	}
	return count;
}

/* The first word of *rest, which is then behind it. */
static struct span next_word(struct span *rest)
{
	struct span word = SPAN_NONE;
	*rest = span_trim(*rest);
	(void)span_cut(rest, ' ', &word);
	*rest = span_trim(*rest);
	return word;
}

static void answer_queue(struct forwarder *f, struct control_client *client, struct span rest)
{
	struct span words[WORDS_MAX], verb = next_word(&rest), behind = rest;
	struct queue_filter filter;
	bool is_change = queue_answer_is_change(verb), is_brief = span_eq(verb, SPAN_LIT("brief"));
	bool has_filter = span_eq(next_word(&behind), SPAN_LIT("where"));
	size_t count = split(rest, words, WORDS_MAX);
	if (is_brief || span_eq(verb, SPAN_LIT("list"))) {
		if (count > 0 && !has_filter)
			control_end(client, ERR_SYNTAX, "queue list where FILTER...");
		else if (take_filter(behind, client, &filter))
			queue_answer_list(f, client, &filter, is_brief);
	} else if (is_change && has_filter && behind.len > 0) {
		answer_change_some(f, client, verb, behind);
	} else if (is_change && count == 1 && span_eq(words[0], SPAN_LIT("all"))) {
		answer_change_some(f, client, verb, SPAN_NONE);
	} else if (is_change && count > 0 && !has_filter) {
		queue_answer_change_ids(f, client, verb, words, count);
	} else if (span_eq(verb, SPAN_LIT("show")) && count == 1) {
		answer_one(f, client, words[0], message_answer_show);
	} else if (span_eq(verb, SPAN_LIT("cat")) && count == 1) {
		answer_one(f, client, words[0], message_answer_cat);
	} else {
		control_end(client, ERR_SYNTAX,
			    "queue list|brief [where FILTER...], show ID, cat ID, delete|hold|release|retry ID...|all|where FILTER...");
	}
}

static void answer_verify(struct forwarder *f, struct control_client *client, struct span rest)
{
	struct kv kv;
	if (!span_eq(next_word(&rest), SPAN_LIT("flush"))) {
		control_end(client, ERR_SYNTAX, "verify flush [recipient]");
		return;
	}
	kv_init(&kv);
	kv_text(&kv, "what", "verify");
	kv_u64(&kv, "forgotten", verify_flush(f->verify, rest));
	int err = control_line(client, &kv);
	control_end(client, err, err ? err_name(err) : "");
}

void fwd_control_ask(void *ctx, struct control_client *client, struct span request)
{
	struct span verb = next_word(&request);
	if (span_eq(verb, SPAN_LIT("status")) && request.len == 0)
		answer_status(ctx, client);
	else if (span_eq(verb, SPAN_LIT("queue")))
		answer_queue(ctx, client, request);
	else if (span_eq(verb, SPAN_LIT("verify")))
		answer_verify(ctx, client, request);
	else
		control_end(client, ERR_SYNTAX, "posternfwd answers: status, queue ..., verify flush [recipient]");
}
