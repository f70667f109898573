#include "syn_side.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "list_answers.h"
#include "log.h"

#define FORGET_TICKS 5u

struct syn_side {
	struct syn_side_parts parts;
	struct loop *loop;
	struct nfqueue *queue, *tarpit_queue; /* until the gate, and the tarpit, have them */
	struct raw_tcp raw;
	struct iface_names ifaces;
	struct syn_rules *rules;
	struct list_answers *answers;
	struct syn_gate *gate;
	struct syn_gate_counts counts;
	struct tarpit_gate *tarpit;
	struct tarpit_gate_counts tarpit_counts;
	uint64_t rules_generation;
	unsigned ticks;
};

static void rules_taken(void *ctx, uint64_t generation, int err)
{
	struct syn_side *side = ctx;
	if (err)
		return;
	side->rules_generation = generation;
	const struct span *zones;
	uint32_t zone_count = rules_syn_lists(rules_syn_rules(syn_rules_get(side->rules)), &zones);
	if (list_answers_set_lists(side->answers, zones, zone_count))
		log_event(LOG_LEVEL_ERR, "gate-lists", "no memory: what depends on block lists is left to sessions");
	log_event(LOG_LEVEL_DEBUG, "gate-rules", "%u rules have to do with SYNs", rules_syn_count(syn_rules_get(side->rules)));
}

/* The tarpit's lets nothing pass: who is in there was to be kept out of the rest. */
static int open_queue(uint64_t number, bool is_fail_open, struct nfqueue **out, struct reason *why)
{
	const struct nfqueue_setup setup = { .number = (uint16_t)number,
					     .copy_bytes = PACKET_HEAD_MAX,
					     .length = SYN_GATE_LENGTH,
					     .is_fail_open = is_fail_open };
	return nfqueue_open(&setup, out, why);
}

static void open_queues(struct syn_side *side)
{
	const uint64_t number = side->parts.conf->gate_queue;
	struct reason why;
	if (number == 0)
		return;
	if (open_queue(number, true, &side->queue, &why))
		log_event(LOG_LEVEL_WARN, "gate-queue", "%s: SYNs are not judged", why.text);
	else if (raw_tcp_open_prepriv(&side->raw, &why))
		log_event(LOG_LEVEL_WARN, "gate-raw", "%s: clients are dropped in silence", why.text);
	else if (open_queue(number + 1, false, &side->tarpit_queue, &why))
		log_event(LOG_LEVEL_WARN, "gate-queue", "%s: who is in the set tarpit is dropped", why.text);
}

int syn_side_open_prepriv(const struct syn_side_parts *parts, struct syn_side **out, struct reason *why)
{
	struct syn_side *side = calloc(1, sizeof *side);
	if (!side)
		return reason_set(why, ERR_NOMEM, "no memory");
	side->parts = *parts;
	side->raw = (struct raw_tcp){ -1, -1 };
	side->ifaces.fd = -1;
	const struct syn_rules_events events = { rules_taken, side };
	int err = syn_rules_create(parts->conf, parts->workers, parts->workers + 1, &events, &side->rules);
	if (!err)
		err = list_answers_create(&side->answers);
	if (err)
		reason_set(why, err, "SYNs can't be judged (%s)", err_name(err));
	else if ((err = iface_names_open(&side->ifaces)) != 0)
		reason_set(why, err, "no socket to ask for the names of interfaces: %s", strerror(errno));
	if (err) {
		syn_side_destroy(&side);
		return err;
	}
	open_queues(side);
	*out = side;
	return 0;
}

static bool find_answer(void *ctx, uint32_t list, const struct addr *client, struct syn_list_answer *out)
{
	const struct syn_side *side = ctx;
	return list_answers_find(side->answers, list, client, loop_now_ms(side->loop) / 1000, out);
}

int syn_side_start(struct syn_side *side, struct loop *loop)
{
	const struct syn_gate_parts parts = { .loop = loop,
					      .conf = side->parts.conf,
					      .counts = &side->counts,
					      .rules = side->rules,
					      .lists = { find_answer, side },
					      .queue = side->queue,
					      .ifaces = &side->ifaces,
					      .raw = &side->raw,
					      .learn = side->parts.learn,
					      .ctx = side->parts.ctx };
	const struct tarpit_gate_parts tarpit = { loop, side->parts.conf, side->tarpit_queue, &side->raw, &side->tarpit_counts };
	side->loop = loop;
	int err = 0;
	if (side->queue && (err = syn_gate_create(&parts, &side->gate)) == 0)
		side->queue = NULL;
	if (!err && side->tarpit_queue && (err = tarpit_gate_create(&tarpit, &side->tarpit)) == 0)
		side->tarpit_queue = NULL;
	return err;
}

void syn_side_take_rules(struct syn_side *side, struct ipc_message *msg)
{
	/* Without a queue nobody asks the rules. */
	if (syn_side_has_queue(side))
		syn_rules_reload(side->rules, side->loop, msg);
}

void syn_side_take_report(struct syn_side *side, const struct gate_list_report *told)
{
	const struct list_report *report = &told->report;
	if (report->zone_len > LIST_ZONE_MAX)
		return;
	const struct span zone = { report->zone, report->zone_len };
	if (report->hold_s == 0)
		list_answers_forget(side->answers, zone);
	else if (list_answers_put(side->answers, zone, &told->client, &report->answer, report->hold_s, loop_now_ms(side->loop) / 1000))
		side->counts.list_answers++;
}

void syn_side_forget_lists(struct syn_side *side)
{
	list_answers_clear(side->answers);
}

void syn_side_tick(struct syn_side *side)
{
	if (++side->ticks % FORGET_TICKS == 0)
		iface_names_forget(&side->ifaces);
}

bool syn_side_has_queue(const struct syn_side *side)
{
	return side->gate && syn_gate_has_queue(side->gate);
}

uint64_t syn_side_rules_generation(const struct syn_side *side)
{
	return side->rules_generation;
}

const struct syn_gate_counts *syn_side_counts(const struct syn_side *side)
{
	return &side->counts;
}

const struct tarpit_gate_counts *syn_side_tarpit_counts(const struct syn_side *side)
{
	return side->tarpit ? &side->tarpit_counts : NULL;
}

void syn_side_destroy(struct syn_side **side)
{
	struct syn_side *s = *side;
	if (!s)
		return;
	syn_gate_destroy(&s->gate);
	tarpit_gate_destroy(&s->tarpit);
	nfqueue_close(&s->queue);
	nfqueue_close(&s->tarpit_queue);
	raw_tcp_close(&s->raw);
	iface_names_close(&s->ifaces);
	/* A job that still runs says what became of it when the loop ends. */
	if (!s->rules || !syn_rules_is_busy(s->rules)) {
		syn_rules_destroy(&s->rules);
		list_answers_destroy(&s->answers);
		free(s);
	}
	*side = NULL;
}
