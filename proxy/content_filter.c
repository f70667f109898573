#include "content_filter.h"

#include <stdio.h>
#include <stdlib.h>

#include "filter_scan.h"
#include "log.h"
#include "mime_walk.h"

struct state {
	struct content_check *check;
	struct session_host *host;
	uint64_t sid;
	struct filter_scan *scan;
	struct loop_task turn;  /* for the next slice of the scan, while something is left to do */
	const struct spool_envelope *envelope; /* behind the end of the message; NULL before */
};

static void go_on(void *state);

static bool is_configured(const struct session_host *host)
{
	return host->filter != NULL;
}

static void close_state(void *state)
{
	struct state *s = state;
	loop_task_cancel(&s->turn);
	filter_scan_destroy(&s->scan);
	free(s);
}

static int open_state(struct content_check *check, struct session_host *host, uint64_t sid, void **state_out)
{
	struct state *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	*s = (struct state){ .check = check, .host = host, .sid = sid, .turn = { .fn = go_on, .ctx = s } };
	/* A reload has taken the filter away since the recipients were accepted: nothing judges what cannot be judged. */
	int err = host->filter ? filter_scan_create(host->filter, &s->scan) : ERR_AGAIN;
	if (err)
		close_state(s);
	else
		*state_out = s;
	return err;
}

static void push(void *state, struct span wire)
{
	struct state *s = state;
	if (filter_scan_push(s->scan, wire))
		return;
	/* Others are served between two slices, and no more is read of this one. */
	content_engine_pause(s->check);
	loop_task_post(s->host->loop, &s->turn);
}

static void begin_log(const struct state *s, struct kv *kv, const char *event, const struct spool_envelope *envelope)
{
	kv_init(kv);
	kv_hex(kv, "sid", s->sid);
	kv_text(kv, "ev", event);
	kv_addr(kv, "client", &envelope->client.addr);
}

/* The sender comes last: it is what may be dropped from a line that is full. */
static void end_log(enum log_level level, struct kv *kv, const struct spool_envelope *envelope)
{
	kv_span(kv, "from", envelope->from);
	log_kv(level, kv);
}

static void log_match(const struct state *s, const struct filter_result *result, const struct spool_envelope *envelope)
{
	char client[ADDR_TEXT_CAP];
	struct span name = envelope->client_name;
	struct kv kv;
	begin_log(s, &kv, "content-match", envelope);
	kv_u64(&kv, "rule", result->rule_line);
	kv_text(&kv, "kind", filter_kind_name(result->kind));
	kv_span(&kv, "line", result->text);
	/* The words of Spammer Deterrent: somebody's scripts look for them. */
	kv_printf(&kv, "msg", "Rejecting message with content: %.*s from %.*s [%s]", SPAN_FMT(span_sub(result->text, 0, 100)),
		  SPAN_FMT(name.len ? span_sub(name, 0, 80) : SPAN_LIT("UNKNOWN")), addr_format(&envelope->client.addr, client));
	end_log(LOG_LEVEL_INFO, &kv, envelope);
}

static void log_unknown(const struct state *s, const struct filter_result *result, const struct spool_envelope *envelope)
{
	struct kv kv;
	begin_log(s, &kv, "content-unknown", envelope);
	kv_u64(&kv, "rule", result->rule_line);
	kv_text(&kv, "why", result->why);
	end_log(LOG_LEVEL_WARN, &kv, envelope);
}

static void log_mime(const struct state *s, unsigned flags, const struct spool_envelope *envelope)
{
	char text[128];
	struct kv kv;
	mime_walk_flags_text(flags, text, sizeof text);
	begin_log(s, &kv, "content-mime", envelope);
	kv_text(&kv, "flags", text);
	kv_text(&kv, "msg", "not everything in this message was decoded");
	end_log(LOG_LEVEL_INFO, &kv, envelope);
}

static void judge(struct state *s)
{
	static const struct content_verdict pass = { .outcome = CONTENT_PASS };
	struct content_verdict refusal = { CONTENT_REFUSE, 550, "5.7.1", "Message refused because of its content", "" };
	const struct spool_envelope *envelope = s->envelope;
	struct filter_result result;
	filter_scan_tell(s->scan, &result);
	bool is_undecoded = result.mime_flags && s->host->conf.conf.filter_undecoded == FILTER_UNDECODED_REFUSE;
	if (result.mime_flags) {
		log_mime(s, result.mime_flags, envelope);
		counter_add(s->host->counters, COUNTER_CONTENT_UNDECODED, 1);
	}
	if (result.outcome == FILTER_MATCHED) {
		log_match(s, &result, envelope);
		counter_add(s->host->counters, COUNTER_CONTENT_MATCHES, 1);
		(void)snprintf(refusal.why, sizeof refusal.why, "content filter, rule %u", result.rule_line);
	} else if (result.outcome == FILTER_UNKNOWN) {
		log_unknown(s, &result, envelope);
		counter_add(s->host->counters, COUNTER_CONTENT_UNKNOWN, 1);
		refusal = (struct content_verdict){ CONTENT_REFUSE, 451, "4.7.0", "The content can't be judged, try again later", "" };
		(void)snprintf(refusal.why, sizeof refusal.why, "content filter: %s", result.why);
	} else if (is_undecoded) {
		refusal = (struct content_verdict){ CONTENT_REFUSE, 550, "5.6.0", "Parts of this message can't be read here", "content filter: not everything was decoded" };
	}
	content_engine_done(s->check, result.outcome == FILTER_PASS && !is_undecoded ? &pass : &refusal, NULL);
}

static void go_on(void *state)
{
	struct state *s = state;
	if (!filter_scan_go_on(s->scan))
		loop_task_post(s->host->loop, &s->turn);
	else if (s->envelope)
		judge(s);
	else
		content_engine_drained(s->check);
}

static void run(void *state, const struct content_image *image, const struct spool_envelope *envelope)
{
	struct state *s = state;
	(void)image;
	s->envelope = envelope;
	if (!filter_scan_finish(s->scan)) {
		loop_task_post(s->host->loop, &s->turn);
		return;
	}
	loop_task_cancel(&s->turn);
	judge(s);
}

const struct content_engine content_filter = {
	.need = NEED_FILTER,
	.is_configured = is_configured,
	.open = open_state,
	.push = push,
	.run = run,
	.close = close_state,
};
