#include "milter_chain.h"

#include <stdlib.h>

#define RCPT_DEADLINE_MS 240000u /* a client waits 5 minutes (RFC 5321 section 4.5.3.2.3) */

enum peer_state {
	PEER_NEW,     /* not connected */
	PEER_OPENING, /* its first step is under way */
	PEER_OPEN,
	PEER_OVER,    /* it wants no more, has failed, or was refused by */
};

struct chain_peer {
	struct milter_chain *chain;
	size_t index;
	enum peer_state state;
	struct milter_dialogue *dialogue;
	struct milter_answer last;
	struct milter_edits edits;
	uint64_t asked_ms, took_ms; /* took: so far */
	char described[MILTER_EDITS_TEXT_CAP];
	struct span hold_reason;
	bool has_spoken;
	bool has_judged; /* the message */
	bool is_reported;
};

struct rcpt_item {
	struct rcpt_item *next;
	struct milter_rcpt rcpt;
	milter_rcpt_fn done;
	void *ctx;
};

struct milter_chain {
	struct loop *loop;
	const struct milter_peer *conf;
	const struct milter_facts *facts;
	const struct milter_hooks *hooks;
	void *ctx;
	uint64_t deadline_ms;

	struct chain_peer *peers;
	size_t count;
	size_t turn;            /* whose it is, in what is under way */
	bool is_asked;          /* and it will answer */
	struct milter_opening opening;
	struct loop_timer *deadline;

	/* What was said of the whole message at an earlier step; a connection that is refused refuses all recipients. */
	enum milter_outcome outcome;
	struct milter_refusal refusal;
	size_t by;              /* who said so; the number of filters: nobody of them */

	struct arena arena;
	struct rcpt_item *head, **tail; /* the first is under way, if is_busy */
	bool is_busy;
	size_t accepted;        /* recipients */
	struct loop_task go_on;

	struct milter_message *message;
	uint64_t body_max;
	bool is_loaded;
	bool is_judging;        /* the filters are asked about the message */
	bool is_applying;       /* what one of them wants */
	milter_judged_fn judged;
	void *judged_ctx;
};

/* ---- reports */

static void report(struct chain_peer *p, bool is_abandoned, struct span rcpt)
{
	const struct milter_report r = {
		.peer = p->index,
		.answer = &p->last,
		.edits = p->described,
		.hold_reason = p->hold_reason,
		.rcpt = rcpt,
		.has_spoken = p->has_spoken,
		.is_abandoned = is_abandoned,
		.took_ms = p->took_ms,
	};
	p->is_reported = p->is_reported || !rcpt.len;
	p->chain->hooks->report(p->chain->ctx, &r);
}

static void peer_over(struct chain_peer *p)
{
	p->state = PEER_OVER;
	if (!p->is_reported)
		report(p, p->last.outcome == MILTER_PASS && !p->has_judged, SPAN_NONE);
	milter_edits_free(&p->edits);
	milter_dialogue_destroy(&p->dialogue);
}

/* ---- what counts for the whole message */

static void decide(struct milter_chain *c, size_t by, enum milter_outcome outcome, const struct milter_refusal *refusal)
{
	c->outcome = outcome;
	c->by = by;
	if (refusal)
		c->refusal = *refusal;
}

static void peer_failed(struct chain_peer *p)
{
	static const struct smtp_reply_text later = { 451, "4.7.1", "A content filter is not available, try again later" };
	static const struct smtp_reply_text never = { 550, "5.7.1", "A content filter is not available" };
	struct milter_chain *c = p->chain;
	enum milter_fail fail = c->conf[p->index].fail;
	struct milter_refusal refusal;
	peer_over(p);
	if (fail == MILTER_FAIL_ACCEPT)
		return;
	milter_refusal_set(&refusal, fail == MILTER_FAIL_REJECT ? &never : &later);
	decide(c, p->index, MILTER_REFUSE, &refusal);
}

/* What follows from an answer for the whole message; a refused recipient is its asker's affair. */
static void weigh(struct chain_peer *p)
{
	switch (p->last.outcome) {
	case MILTER_PASS: break;
	case MILTER_ACCEPTED: peer_over(p); break;
	case MILTER_DROP:
		peer_over(p);
		decide(p->chain, p->index, MILTER_DROP, NULL);
		break;
	case MILTER_REFUSE:
		peer_over(p);
		decide(p->chain, p->index, MILTER_REFUSE, &p->last.refusal);
		break;
	case MILTER_BROKEN: peer_failed(p); break;
	}
}

/* ---- connections */

static void open_failed(struct chain_peer *p, int err)
{
	struct milter_chain *c = p->chain;
	p->last = (struct milter_answer){ .outcome = MILTER_BROKEN, .stage = "connection", .err = err };
	p->took_ms += loop_now_ms(c->loop) - p->asked_ms;
	c->is_asked = false;
	weigh(p);
	loop_task_post(c->loop, &c->go_on);
}

static void connected(void *ctx, int err, int fd)
{
	struct milter_chain *c = ctx;
	struct chain_peer *p = &c->peers[c->turn];
	if (err)
		open_failed(p, err);
	else
		milter_dialogue_open(p->dialogue, fd);
}

void milter_chain_opened(struct milter_chain *c, int err, int fd)
{
	milter_opening_take(&c->opening, err, fd);
}

static void answered(void *ctx, const struct milter_answer *answer);

static void open_peer(struct milter_chain *c, struct chain_peer *p)
{
	const struct milter_peer *conf = &c->conf[p->index];
	p->state = PEER_OPENING;
	p->asked_ms = loop_now_ms(c->loop);
	int err = milter_dialogue_create(c->loop, c->facts, &conf->times, answered, p, &p->dialogue);
	if (err)
		open_failed(p, err);
	else
		milter_opening_start(&c->opening, p->index, conf->times.connect_ms);
}

/* ---- recipients */

static void rcpt_over(struct milter_chain *c, const struct milter_refusal *refusal, size_t by)
{
	struct rcpt_item *item = c->head;
	c->head = item->next;
	if (!c->head)
		c->tail = &c->head;
	c->is_busy = false;
	if (!c->judged)
		loop_timer_stop(c->deadline);
	c->accepted += !refusal && !item->rcpt.refusal.len;
	loop_task_post(c->loop, &c->go_on);
	if (item->done)
		item->done(item->ctx, refusal, refusal ? c->conf[by].name : "");
}

/* ---- the message */

static void judge(struct milter_chain *c, const struct content_change *change)
{
	milter_judged_fn judged = c->judged;
	c->judged = NULL;
	c->is_asked = true; /* nobody is asked any more */
	loop_timer_stop(c->deadline);
	for (size_t i = 0; i < c->count; i++)
		if (c->peers[i].state == PEER_OPEN)
			peer_over(&c->peers[i]);
	judged(c->judged_ctx, c->outcome, c->outcome == MILTER_REFUSE ? &c->refusal : NULL,
		  c->by < c->count ? c->conf[c->by].name : "", change);
}

/* The message can't be judged or changed, whatever a filter's fail says: by, if it was one of them. */
static void message_refused(struct milter_chain *c, size_t by, const struct smtp_reply_text *reply)
{
	milter_refusal_set(&c->refusal, reply);
	c->outcome = MILTER_REFUSE;
	c->by = by;
	/* It may be loading or being written: with the answer the image goes back, and there is only one answer. */
	milter_message_destroy(&c->message);
	judge(c, NULL);
}

static void message_failed(struct milter_chain *c, int err)
{
	static const struct smtp_reply_text too_long = { 552, "5.3.4", "The header is larger than a content filter can be shown" };
	static const struct smtp_reply_text trouble = { 451, "4.3.0", "Local error, try again later" };
	message_refused(c, c->count, err == ERR_TOOLONG ? &too_long : &trouble);
}

/* Else whoever sends what makes a filter want many changes, a thousand forged fields that it removes, would get round a filter with MILTER_FAIL_ACCEPT. */
static void wants_too_much(struct chain_peer *p)
{
	static const struct smtp_reply_text reply = { 451, "4.3.0", "A content filter wants more changes than are possible, try again later" };
	size_t by = p->index;
	struct milter_chain *c = p->chain;
	peer_over(p);
	message_refused(c, by, &reply);
}

static void message_written(void *ctx, int err)
{
	struct milter_chain *c = ctx;
	struct content_change change;
	if (err) {
		message_failed(c, err);
		return;
	}
	milter_message_change(c->message, &change);
	judge(c, &change);
}

static void step(struct milter_chain *c);

static void message_loaded(void *ctx, int err)
{
	struct milter_chain *c = ctx;
	c->is_loaded = true;
	if (err)
		message_failed(c, err);
	else
		step(c);
}

static void round_over(struct milter_chain *c);

static void start_rcpt_deadline(struct milter_chain *c)
{
	/* At the end of the message its own deadline is running, which is for what is left of the recipients, too. */
	if (!c->judged)
		loop_timer_start(c->deadline, c->deadline_ms < RCPT_DEADLINE_MS ? c->deadline_ms : RCPT_DEADLINE_MS);
}

/* A recipient's reply waits too long, whatever the filter says of being busy: that filter has failed, the others have as long again. */
static void rcpt_deadline_passed(struct milter_chain *c)
{
	struct chain_peer *p = &c->peers[c->turn];
	/* Else it has just been answered, and what follows is on its way. */
	if (!c->is_busy || !c->is_asked)
		return;
	milter_opening_cancel(&c->opening);
	c->is_asked = false;
	p->last = (struct milter_answer){ .outcome = MILTER_BROKEN, .stage = "deadline", .err = ERR_TIMEOUT };
	p->took_ms += loop_now_ms(c->loop) - p->asked_ms;
	weigh(p);
	start_rcpt_deadline(c);
	c->turn++;
	step(c);
}

/* Whoever has not judged by now has failed. */
static void deadline_passed(void *ctx)
{
	struct milter_chain *c = ctx;
	if (!c->judged) {
		rcpt_deadline_passed(c);
		return;
	}
	if (!c->is_loaded || c->is_applying || (c->is_judging && c->turn == c->count)) {
		message_failed(c, ERR_TIMEOUT);
		return;
	}
	if (!c->is_judging)
		c->turn = 0;
	milter_opening_cancel(&c->opening);
	c->is_asked = c->is_busy = false;
	c->is_judging = true;
	loop_task_cancel(&c->go_on);
	for (; c->turn < c->count && c->outcome == MILTER_PASS; c->turn++) {
		struct chain_peer *p = &c->peers[c->turn];
		if (p->state == PEER_OVER)
			continue;
		p->last = (struct milter_answer){ .outcome = MILTER_BROKEN, .stage = "deadline", .err = ERR_TIMEOUT };
		weigh(p);
	}
	round_over(c);
}

/* ---- one filter after the other */

static void ask_peer(struct milter_chain *c, struct chain_peer *p)
{
	if (p->state == PEER_NEW) {
		open_peer(c, p);
		return;
	}
	p->asked_ms = loop_now_ms(c->loop);
	if (c->is_busy) {
		milter_dialogue_rcpt(p->dialogue, &c->head->rcpt, c->accepted);
		return;
	}
	milter_edits_init(&p->edits, milter_dialogue_has_space(p->dialogue), c->body_max);
	milter_dialogue_message(p->dialogue, c->message, c->accepted, &p->edits);
}

/* All have been asked, or one has decided. */
static void round_over(struct milter_chain *c)
{
	if (c->is_busy) {
		rcpt_over(c, c->outcome == MILTER_REFUSE ? &c->refusal : NULL, c->by);
	} else if (c->outcome != MILTER_PASS) {
		judge(c, NULL);
	} else {
		c->is_asked = true; /* to be quiet */
		milter_message_write(c->message, message_written, c);
	}
}

/* The next filter's turn; or the next recipient's, or the message's. */
static void step(struct milter_chain *c)
{
	if (c->is_asked)
		return;
	if (!c->is_busy && !c->is_judging) {
		/* Recipients come first, also those that nobody waits for. */
		c->is_busy = c->head != NULL;
		if (c->is_busy)
			start_rcpt_deadline(c);
		c->is_judging = !c->is_busy && c->judged && c->is_loaded;
		c->turn = 0;
	}
	if (!c->is_busy && !c->is_judging)
		return;
	for (; c->turn < c->count && c->outcome == MILTER_PASS; c->turn++) {
		c->is_asked = c->peers[c->turn].state != PEER_OVER;
		if (c->is_asked) {
			ask_peer(c, &c->peers[c->turn]);
			return;
		}
	}
	round_over(c);
}

static void go_on(void *ctx)
{
	step(ctx);
}

static void rcpt_refused(struct chain_peer *p)
{
	struct milter_chain *c = p->chain;
	if (c->head->done) {
		report(p, false, c->head->rcpt.path);
		rcpt_over(c, &p->last.refusal, p->index);
		return;
	}
	/* Nobody asked it about this one. */
	c->turn++;
	step(c);
}

static void next_peer(struct chain_peer *p)
{
	weigh(p);
	p->chain->turn++;
	step(p->chain);
}

static void applied(void *ctx, int err)
{
	struct chain_peer *p = ctx;
	struct milter_chain *c = p->chain;
	c->is_asked = c->is_applying = false;
	p->has_judged = !err;
	if (!err) {
		next_peer(p);
		return;
	}
	/* A message that is half changed goes nowhere. */
	p->hold_reason = SPAN_NONE;
	p->last = (struct milter_answer){ .outcome = MILTER_BROKEN, .stage = "changes", .err = err, .limit = milter_message_limit(c->message) };
	if (p->last.limit) {
		wants_too_much(p);
		return;
	}
	peer_over(p);
	message_failed(c, err == ERR_TOOLONG ? ERR_INVAL : err);
}

static void apply_edits(struct chain_peer *p)
{
	struct milter_chain *c = p->chain;
	(void)milter_edits_describe(&p->edits, p->described);
	for (size_t i = 0; i < p->edits.count; i++)
		if (p->edits.list[i].kind == MILTER_QUARANTINE)
			p->hold_reason = arena_copy(&c->arena, p->edits.list[i].first);
	c->is_asked = c->is_applying = true;
	milter_message_apply(c->message, &p->edits, c->conf[p->index].name, applied, p);
}

static void answered(void *ctx, const struct milter_answer *answer)
{
	struct chain_peer *p = ctx;
	struct milter_chain *c = p->chain;
	bool was_opening = p->state == PEER_OPENING, has_passed = answer->outcome == MILTER_PASS || answer->outcome == MILTER_ACCEPTED;
	p->last = *answer;
	p->took_ms += loop_now_ms(c->loop) - p->asked_ms;
	c->is_asked = false;
	if (was_opening && answer->has_negotiated) {
		p->has_spoken = true;
		c->hooks->speaks(c->ctx, p->index);
	}
	if (was_opening && answer->outcome == MILTER_PASS) {
		/* Now what it was opened for. */
		p->state = PEER_OPEN;
		step(c);
	} else if (c->is_busy && !was_opening && answer->outcome == MILTER_REFUSE) {
		rcpt_refused(p);
	} else if (answer->outcome == MILTER_BROKEN && answer->limit) {
		wants_too_much(p);
	} else if (!c->is_busy && !was_opening && has_passed) {
		apply_edits(p);
	} else {
		next_peer(p);
	}
}

/* ---- */

int milter_chain_create(struct loop *loop, const struct milter_peer *peers, size_t count, const struct milter_facts *facts,
			const struct milter_hooks *hooks, void *ctx, uint64_t deadline_ms, struct milter_chain **out)
{
	struct milter_chain *c = calloc(1, sizeof *c);
	if (!c)
		return ERR_NOMEM;
	*c = (struct milter_chain){
		.loop = loop, .conf = peers, .count = count, .facts = facts, .hooks = hooks, .ctx = ctx, .deadline_ms = deadline_ms, .by = count,
	};
	c->tail = &c->head;
	c->go_on = (struct loop_task){ .fn = go_on, .ctx = c };
	c->peers = calloc(count, sizeof *c->peers);
	int err = c->peers ? milter_opening_init(&c->opening, loop, &hooks->opener, ctx, connected, c) : ERR_NOMEM;
	if (!err)
		err = loop_timer_create(loop, deadline_passed, c, &c->deadline);
	for (size_t i = 0; !err && i < count; i++) {
		c->peers[i].chain = c;
		c->peers[i].index = i;
		milter_edits_init(&c->peers[i].edits, false, 0);
	}
	if (err)
		milter_chain_destroy(&c);
	else
		*out = c;
	return err;
}

int milter_chain_rcpt(struct milter_chain *c, const struct milter_rcpt *rcpt, milter_rcpt_fn done, void *ctx)
{
	struct rcpt_item *item = arena_alloc(&c->arena, sizeof *item);
	if (!item)
		return ERR_NOMEM;
	item->rcpt = (struct milter_rcpt){ arena_copy(&c->arena, rcpt->path), arena_copy(&c->arena, rcpt->args), arena_copy(&c->arena, rcpt->refusal) };
	if (!item->rcpt.path.ptr || !item->rcpt.args.ptr || !item->rcpt.refusal.ptr)
		return ERR_NOMEM;
	item->done = done;
	item->ctx = ctx;
	*c->tail = item;
	c->tail = &item->next;
	if (!c->is_busy)
		loop_task_post(c->loop, &c->go_on);
	return 0;
}

void milter_chain_message(struct milter_chain *c, const struct content_image *image, uint64_t body_max, milter_judged_fn done, void *ctx)
{
	c->body_max = body_max;
	c->judged = done;
	c->judged_ctx = ctx;
	loop_timer_start(c->deadline, c->deadline_ms);
	int err = milter_message_load(c->loop, image, message_loaded, c, &c->message);
	/* Without a message nobody is asked: the deadline's end is at once. */
	if (err)
		loop_timer_start(c->deadline, 0);
}

void milter_chain_destroy(struct milter_chain **chain)
{
	struct milter_chain *c = *chain;
	if (!c)
		return;
	*chain = NULL;
	for (size_t i = 0; c->peers && i < c->count; i++) {
		struct chain_peer *p = &c->peers[i];
		if (!p->is_reported && p->state != PEER_NEW)
			report(p, true, SPAN_NONE);
		milter_dialogue_destroy(&p->dialogue);
		milter_edits_free(&p->edits);
	}
	loop_task_cancel(&c->go_on);
	milter_opening_free(&c->opening);
	loop_timer_destroy(&c->deadline);
	milter_message_destroy(&c->message);
	arena_free(&c->arena);
	free(c->peers);
	free(c);
}
