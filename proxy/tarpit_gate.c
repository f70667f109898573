#include "tarpit_gate.h"

#include <stdlib.h>
#include <sys/random.h>

#include "log.h"
#include "net_rates.h"
#include "tarpit_segment.h"

struct tarpit_gate {
	struct tarpit_gate_parts parts;
	struct loop_io *io;
	struct siphash_key key;
	struct net_rates *rates;
};

static bool may_answer(struct tarpit_gate *g, enum tarpit_kind kind, const struct addr *client)
{
	return kind == TARPIT_HELD || net_rates_take(g->rates, client, (uint32_t)g->parts.conf->tarpit_syn_rate, TARPIT_SYNS_PER_NET,
						     loop_now_ms(g->parts.loop));
}

static struct nfqueue_verdict judge(void *ctx, const struct nfqueue_packet *packet)
{
	static const struct nfqueue_verdict drop = { .action = NFQUEUE_DROP };
	struct tarpit_gate *g = ctx;
	struct packet_tcp segment;
	struct packet_answer answer;
	g->parts.counts->packets++;
	if (packet_read(packet->head, &segment) != 0)
		return drop;
	enum tarpit_kind kind = tarpit_answer(&g->key, &segment, &answer);
	if (kind == TARPIT_NOTHING)
		return drop;
	bool is_sent = may_answer(g, kind, &segment.from.addr) && raw_tcp_send(g->parts.raw, &answer, packet->ifindex) == 0;
	if (kind == TARPIT_HELD)
		g->parts.counts->kept += is_sent;
	else if (is_sent)
		g->parts.counts->syns_answered++;
	else
		g->parts.counts->syns_left++;
	return drop;
}

static void queue_ready(void *ctx, unsigned events)
{
	struct tarpit_gate *g = ctx;
	(void)events;
	if (nfqueue_run(g->parts.queue, judge, g) == 0)
		return;
	log_event(LOG_LEVEL_ERR, "tarpit-queue", "the queue's socket can't be read any more: who is in the tarpit is dropped until posternd is restarted");
	loop_io_destroy(&g->io);
}

int tarpit_gate_create(const struct tarpit_gate_parts *parts, struct tarpit_gate **out)
{
	struct siphash_key rates_key;
	struct tarpit_gate *g = calloc(1, sizeof *g);
	if (!g)
		return ERR_NOMEM;
	g->parts = *parts;
	g->parts.queue = NULL;
	int err = getrandom(&g->key, sizeof g->key, 0) == sizeof g->key && getrandom(&rates_key, sizeof rates_key, 0) == sizeof rates_key ? 0 : ERR_IO;
	if (!err)
		err = net_rates_create(&rates_key, &g->rates);
	if (!err)
		err = loop_io_create(parts->loop, nfqueue_fd(parts->queue), queue_ready, g, &g->io);
	if (!err)
		err = loop_io_want(g->io, LOOP_READ);
	if (err) {
		tarpit_gate_destroy(&g);
		return err;
	}
	g->parts.queue = parts->queue;
	*out = g;
	return 0;
}

void tarpit_gate_destroy(struct tarpit_gate **gate)
{
	struct tarpit_gate *g = *gate;
	if (!g)
		return;
	loop_io_destroy(&g->io);
	nfqueue_close(&g->parts.queue);
	net_rates_destroy(&g->rates);
	free(g);
	*gate = NULL;
}
