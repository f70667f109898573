#include "milter_talk.h"

#include <inttypes.h>
#include <stdlib.h>

#include "log.h"
#include "milter_sockets.h"

struct milter_talk {
	struct session_host *host;
	uint64_t sid;
	struct arena arena;
	struct milter_facts facts;
	struct milter_specs specs; /* as they were when it began */
	struct milter_peer peers[MILTERS_MAX];
	struct milter_chain *chain;
	uint64_t ticket;
	enum { NOT_TRIED, TRIED, SPARED } tries[MILTERS_MAX]; /* spared: a silent one, milter_health.h */
};

/* A list that a reload has changed has other filters in these places. */
static struct counter_slot *slot_of(struct milter_talk *t, size_t peer)
{
	bool is_same = peer < t->host->milters.count &&
		       milter_spec_address_hash(&t->host->milters.list[peer]) == milter_spec_address_hash(&t->specs.list[peer]);
	return is_same ? t->host->counters : NULL;
}

/* ---- connections */

static void opened(void *ctx, int err, int fd)
{
	struct milter_talk *t = ctx;
	t->ticket = 0;
	milter_chain_opened(t->chain, err, fd);
}

static int open_peer(void *ctx, size_t peer)
{
	struct milter_talk *t = ctx;
	bool may_try = t->tries[peer] == TRIED ||
		       milter_health_may_try(&t->host->milter_health, peer, &t->specs.list[peer], loop_now_ms(t->host->loop));
	t->tries[peer] = may_try ? TRIED : SPARED;
	if (!may_try)
		return ERR_TIMEOUT;
	return milter_sockets_ask(t->host->milter_sockets, peer, &t->specs.list[peer], opened, t, &t->ticket);
}

static void cancel_open(void *ctx)
{
	struct milter_talk *t = ctx;
	master_requests_cancel(t->host->milter_sockets, t->ticket);
	t->ticket = 0;
}

static void speaks(void *ctx, size_t peer)
{
	struct milter_talk *t = ctx;
	milter_health_answers(&t->host->milter_health, peer, &t->specs.list[peer], slot_of(t, peer));
}

/* ---- what is told of it */

static const char *name_of(const struct milter_report *r)
{
	static const char *const names[] = {
		[MILTER_PASS] = "pass", [MILTER_ACCEPTED] = "accept", [MILTER_REFUSE] = "refuse", [MILTER_DROP] = "discard", [MILTER_BROKEN] = "failed"
	};
	return r->is_abandoned && r->answer->outcome == MILTER_PASS ? "abandoned" : names[r->answer->outcome];
}

static void count(struct milter_talk *t, const struct milter_report *r)
{
	struct counter_slot *slot = slot_of(t, r->peer);
	if (!slot)
		return;
	if (!r->rcpt.len)
		milter_counter_add(slot, r->peer, MILTER_COUNTER_ASKED);
	if (r->edits[0])
		milter_counter_add(slot, r->peer, MILTER_COUNTER_CHANGED);
	if (r->hold_reason.ptr)
		milter_counter_add(slot, r->peer, MILTER_COUNTER_QUARANTINED);
	switch (r->answer->outcome) {
	case MILTER_PASS:
	case MILTER_ACCEPTED: break;
	case MILTER_REFUSE: milter_counter_add(slot, r->peer, MILTER_COUNTER_REFUSED); break;
	case MILTER_DROP: milter_counter_add(slot, r->peer, MILTER_COUNTER_DISCARDED); break;
	case MILTER_BROKEN: milter_counters_failed(slot, r->peer, r->answer->err, loop_wall_time()); break;
	}
}

static void report(void *ctx, const struct milter_report *r)
{
	struct milter_talk *t = ctx;
	bool has_failed = r->answer->outcome == MILTER_BROKEN, is_over_limit = has_failed && r->answer->limit;
	char line[MILTER_REFUSAL_LINE_CAP];
	struct kv kv;
	count(t, r);
	kv_init(&kv);
	kv_hex(&kv, "sid", t->sid);
	kv_text(&kv, "ev", "milter");
	kv_span(&kv, "id", t->facts.id);
	kv_text(&kv, "milter", t->specs.list[r->peer].name);
	kv_text(&kv, "did", name_of(r));
	kv_text(&kv, "stage", r->answer->stage);
	kv_addr(&kv, "client", &t->facts.client.addr);
	kv_span(&kv, "from", t->facts.from);
	if (r->rcpt.len)
		kv_span(&kv, "to", r->rcpt);
	if (r->answer->outcome == MILTER_REFUSE)
		kv_text(&kv, "reply", milter_refusal_line(&r->answer->refusal, line));
	if (r->edits[0])
		kv_text(&kv, "changes", r->edits);
	if (r->hold_reason.ptr)
		kv_span(&kv, "hold", r->hold_reason);
	if (has_failed) {
		kv_text(&kv, "why", err_name(r->answer->err));
		if (t->tries[r->peer] == SPARED)
			kv_text(&kv, "tried", "no");
		if (is_over_limit)
			kv_text(&kv, "limit", r->answer->limit);
		kv_text(&kv, "fail", milter_fail_name(t->specs.list[r->peer].fail));
	}
	kv_u64(&kv, "took_ms", r->took_ms);
	/* One that fails makes a line of trouble now and then; this is for whoever follows the message. */
	log_kv(is_over_limit ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &kv);
	if (has_failed && !is_over_limit)
		milter_health_failed(&t->host->milter_health, r->peer, &t->specs.list[r->peer], r->answer->stage, r->answer->err, r->has_spoken,
				     slot_of(t, r->peer), loop_now_ms(t->host->loop));
}

static const struct milter_hooks hooks = { { open_peer, cancel_open }, speaks, report };

/* ---- */

static bool copy(struct arena *arena, struct span *text)
{
	*text = arena_copy(arena, *text);
	return text->ptr != NULL;
}

int milter_talk_create(struct session_host *host, uint64_t sid, const struct milter_facts *facts, struct milter_talk **out)
{
	struct milter_talk *t = calloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->host = host;
	t->sid = sid;
	t->facts = *facts;
	t->specs = host->milters;
	struct span *const texts[] = { &t->facts.hostname, &t->facts.iface, &t->facts.client_name, &t->facts.helo,
				       &t->facts.id,	   &t->facts.proto,	   &t->facts.from,  &t->facts.from_args };
	int err = 0;
	for (size_t i = 0; !err && i < sizeof texts / sizeof texts[0]; i++)
		err = copy(&t->arena, texts[i]) ? 0 : ERR_NOMEM;
	for (size_t i = 0; i < t->specs.count; i++) {
		const struct milter_spec *spec = &t->specs.list[i];
		t->peers[i] = (struct milter_peer){ spec->name, spec->fail, { spec->connect_s * 1000, spec->command_s * 1000, spec->content_s * 1000 } };
	}
	if (!err)
		err = milter_chain_create(host->loop, t->peers, t->specs.count, &t->facts, &hooks, t, host->conf.conf.milter_deadline_s * 1000,
					  &t->chain);
	if (err)
		milter_talk_destroy(&t);
	else
		*out = t;
	return err;
}

int milter_talk_rcpt(struct milter_talk *t, const struct milter_rcpt *rcpt, milter_rcpt_fn done, void *ctx)
{
	return milter_chain_rcpt(t->chain, rcpt, done, ctx);
}

void milter_talk_message(struct milter_talk *t, const struct content_image *image, milter_judged_fn done, void *ctx)
{
	/* A body in wire form: dots and CRLF are added to what a filter writes. */
	milter_chain_message(t->chain, image, t->host->conf.conf.max_size_bytes, done, ctx);
}

void milter_talk_destroy(struct milter_talk **talk)
{
	struct milter_talk *t = *talk;
	if (!t)
		return;
	*talk = NULL;
	milter_chain_destroy(&t->chain);
	arena_free(&t->arena);
	free(t);
}
