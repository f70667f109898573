#include "syn_gate.h"

#include <stdlib.h>

#include "log.h"
#include "net_rates.h"
#include "token_bucket.h"

/* Lines about single SYNs, so that a flood does not become one of the log. */
#define LINES_PER_MINUTE 600u

struct syn_gate {
	struct syn_gate_parts parts;
	struct loop_io *io;
	struct token_bucket lines;
	struct rate_bucket learned, resets;
	uint64_t lines_left_out;
};

/* Sections are few, and who came in by none of them is nobody that we divert. */
static const struct conf_listen *find_section(struct syn_gate *g, uint32_t ifindex)
{
	const char *name = iface_names_get(g->parts.ifaces, ifindex);
	const struct conf_listen *l = name[0] ? conf_find_listen(g->parts.conf, name) : NULL;
	return l ? l : conf_find_listen(g->parts.conf, "*");
}

static void log_verdict(struct syn_gate *g, const struct packet_tcp *syn, const struct conf_listen *l, const struct syn_verdict *v, const char *what)
{
	struct kv kv;
	if (!token_bucket_take(&g->lines, LINES_PER_MINUTE, loop_now_ms(g->parts.loop))) {
		g->lines_left_out++;
		return;
	}
	kv_init(&kv);
	kv_text(&kv, "ev", "syn");
	kv_text(&kv, "verdict", what);
	kv_u64(&kv, "rule", v->rule_line);
	kv_endpoint(&kv, "client", &syn->from);
	kv_endpoint(&kv, "dst", &syn->to);
	kv_text(&kv, "iface", l->iface);
	if (v->by_lists)
		kv_text(&kv, "by", "block-list");
	if (g->lines_left_out)
		kv_u64(&kv, "left_out", g->lines_left_out);
	g->lines_left_out = 0;
	log_kv(LOG_LEVEL_INFO, &kv);
}

static void learn(struct syn_gate *g, const struct packet_tcp *syn, const struct conf_listen *l, const struct syn_verdict *v)
{
	if (v->by_lists)
		g->parts.counts->by_lists++;
	else if (!l->trusted && rate_bucket_take(&g->learned, SYN_GATE_LEARNED_PER_S, loop_now_ms(g->parts.loop)))
		g->parts.learn(g->parts.ctx, v->outcome, &syn->from.addr);
}

/* True when the client was told. */
static bool reset(struct syn_gate *g, const struct packet_tcp *syn, uint32_t ifindex)
{
	struct packet_answer answer;
	return g->parts.conf->gate_drop == GATE_DROP_RESET && packet_refusal(syn, &answer) &&
	       rate_bucket_take(&g->resets, SYN_GATE_RESETS_PER_S, loop_now_ms(g->parts.loop)) &&
	       raw_tcp_send(g->parts.raw, &answer, ifindex) == 0;
}

static struct nfqueue_verdict drop(struct syn_gate *g, const struct packet_tcp *syn, uint32_t ifindex, const struct conf_listen *l,
				   const struct syn_verdict *v)
{
	bool is_told = reset(g, syn, ifindex);
	g->parts.counts->dropped++;
	if (is_told)
		g->parts.counts->resets++;
	learn(g, syn, l, v);
	log_verdict(g, syn, l, v, "drop");
	return (struct nfqueue_verdict){ .action = NFQUEUE_DROP };
}

static struct nfqueue_verdict accept_marked(struct syn_gate *g, uint32_t old, const struct mark_value *mark)
{
	uint32_t new = (old & ~mark->mask) | mark->bits;
	if (new != old)
		g->parts.counts->marked++;
	return (struct nfqueue_verdict){ .action = NFQUEUE_ACCEPT, .sets_mark = new != old, .mark = new };
}

static struct nfqueue_verdict pass(struct syn_gate *g, const struct packet_tcp *syn, uint32_t mark, const struct conf_listen *l,
				   const struct syn_verdict *v)
{
	g->parts.counts->passed++;
	/* The set serves the next connection; this one goes by its mark, whichever way the diversion looks at it. */
	learn(g, syn, l, v);
	log_verdict(g, syn, l, v, "pass");
	return (struct nfqueue_verdict){ .action = NFQUEUE_ACCEPT, .sets_mark = true, .mark = mark | CONF_OWN_MARK };
}

struct nfqueue_verdict syn_gate_judge(void *ctx, const struct nfqueue_packet *packet)
{
	static const struct nfqueue_verdict accept = { .action = NFQUEUE_ACCEPT };
	struct syn_gate *g = ctx;
	struct packet_tcp syn;
	struct syn_verdict v;
	struct rules_syn *rules = syn_rules_get(g->parts.rules);
	g->parts.counts->packets++;
	if (packet_read(packet->head, &syn) != 0) {
		g->parts.counts->unreadable++;
		return accept;
	}
	const struct conf_listen *l = find_section(g, packet->ifindex);
	if ((syn.flags & (PACKET_SYN | PACKET_ACK | PACKET_RST)) != PACKET_SYN || !l || !rules)
		return accept;
	const struct rules_client client = { .addr = syn.from.addr, .dst = syn.to.addr, .trusted = l->trusted != 0, .iface = span_of(l->iface),
					     .mark = packet->mark & MARK_FREE_BITS };
	rules_syn_judge(rules, &client, &g->parts.lists, &v);
	if (v.outcome != SYN_SESSION)
		syn_rules_hit(g->parts.rules, v.rule_index);
	if (v.outcome == SYN_DROP)
		return drop(g, &syn, packet->ifindex, l, &v);
	struct nfqueue_verdict verdict = accept_marked(g, packet->mark, &v.mark);
	return v.outcome == SYN_PASS ? pass(g, &syn, verdict.sets_mark ? verdict.mark : packet->mark, l, &v) : verdict;
}

static void queue_ready(void *ctx, unsigned events)
{
	struct syn_gate *g = ctx;
	(void)events;
	if (nfqueue_run(g->parts.queue, syn_gate_judge, g) == 0)
		return;
	log_event(LOG_LEVEL_ERR, "gate-queue", "the queue's socket can't be read any more: SYNs are not judged until posternd is restarted");
	loop_io_destroy(&g->io);
	/* Only without the socket the kernel stops to queue. */
	nfqueue_close(&g->parts.queue);
}

int syn_gate_create(const struct syn_gate_parts *parts, struct syn_gate **out)
{
	struct syn_gate *g = calloc(1, sizeof *g);
	if (!g)
		return ERR_NOMEM;
	g->parts = *parts;
	int err = loop_io_create(parts->loop, nfqueue_fd(parts->queue), queue_ready, g, &g->io);
	if (!err)
		err = loop_io_want(g->io, LOOP_READ);
	if (err) {
		g->parts.queue = NULL; /* the caller's still */
		syn_gate_destroy(&g);
	} else {
		*out = g;
	}
	return err;
}

bool syn_gate_has_queue(const struct syn_gate *gate)
{
	return gate->parts.queue != NULL;
}

void syn_gate_destroy(struct syn_gate **gate)
{
	if (!*gate)
		return;
	loop_io_destroy(&(*gate)->io);
	nfqueue_close(&(*gate)->parts.queue);
	free(*gate);
	*gate = NULL;
}
