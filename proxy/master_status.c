#include "master_status.h"

#include <unistd.h>

#include "checker_process.h"
#include "log.h"
#include "space.h"

static void begin(struct kv *kv, const char *what)
{
	kv_init(kv);
	kv_text(kv, "what", what);
}

static void answer_daemon(const struct master_status_sources *from, struct control_client *client)
{
	struct kv kv;
	begin(&kv, "daemon");
	kv_text(&kv, "version", POSTERN_VERSION);
	kv_i64(&kv, "pid", getpid());
	kv_text(&kv, "state", from->is_draining ? "stopping" : "running");
	kv_text(&kv, "hostname", from->conf->hostname);
	kv_text(&kv, "rules", from->conf->rules);
	kv_text(&kv, "filter", from->conf->filter[0] ? from->conf->filter : "none");
	kv_text(&kv, "reload", from->reload);
	kv_text(&kv, "spool", from->conf->spool);
	kv_u64(&kv, "log_lost", log_lost());
	(void)control_line(client, &kv);
}

static void answer_workers(const struct master_status_sources *from, struct control_client *client)
{
	for (uint32_t i = 0; i < from->crew->count; i++) {
		const struct worker_process *w = from->crew->workers[i];
		struct kv kv;
		begin(&kv, "worker");
		kv_u64(&kv, "worker", i);
		kv_i64(&kv, "pid", worker_process_pid(w));
		kv_text(&kv, "state", worker_state_name(worker_process_state(w)));
		kv_text(&kv, "rules", worker_process_state(w) != WORKER_RUNNING ? "away" : worker_process_has_rules(w) ? "current" : "old");
		kv_u64(&kv, "restarts", worker_process_restarts(w));
		kv_u64(&kv, "sessions", from->counters->slots[i].values[COUNTER_SESSIONS]);
		kv_text(&kv, "forwarder", forwarder_links_has(from->links, i) ? "connected" : "away");
		(void)control_line(client, &kv);
	}
}

static void put_queue(struct kv *kv, const struct master_status_sources *from, const struct gate_status *status)
{
	struct nfqueue_counts kernel = { 0 };
	if (!status->has_queue) {
		kv_text(kv, "queue", "none");
		return;
	}
	kv_u64(kv, "queue", from->conf->gate_queue);
	kv_u64(kv, "syns", status->syns.packets);
	kv_u64(kv, "syns_dropped", status->syns.dropped);
	kv_u64(kv, "syns_reset", status->syns.resets);
	kv_u64(kv, "syns_passed", status->syns.passed);
	kv_u64(kv, "syns_marked", status->syns.marked);
	kv_u64(kv, "syns_by_list", status->syns.by_lists);
	kv_u64(kv, "list_answers", status->syns.list_answers);
	kv_u64(kv, "syns_unreadable", status->syns.unreadable);
	if (nfqueue_counts_read((uint16_t)from->conf->gate_queue, &kernel) == 0) {
		kv_u64(kv, "syns_waiting", kernel.waiting);
		/* By the kernel, since the gate began.  Those that it lets in when the queue is full it counts nowhere. */
		kv_u64(kv, "syns_lost", kernel.dropped_full + kernel.dropped_user);
	}
}

static void put_tarpit(struct kv *kv, const struct gate_status *status)
{
	if (!status->has_tarpit)
		return;
	kv_u64(kv, "tarpit_packets", status->tarpit.packets);
	kv_u64(kv, "tarpit_syns_answered", status->tarpit.syns_answered);
	kv_u64(kv, "tarpit_syns_left", status->tarpit.syns_left);
	kv_u64(kv, "tarpit_kept", status->tarpit.kept);
}

static void answer_gate(const struct master_status_sources *from, struct control_client *client)
{
	static const char *const backends[] = { [GATE_BACKEND_NONE] = "none", [GATE_BACKEND_NFT] = "nft", [GATE_BACKEND_IPSET] = "ipset" };
	const struct gate_status *status = from->gate ? gate_process_status(from->gate) : NULL;
	struct kv kv;
	begin(&kv, "gate");
	if (!from->gate) {
		kv_text(&kv, "state", "off");
		(void)control_line(client, &kv);
		return;
	}
	kv_text(&kv, "state", worker_state_name(gate_process_state(from->gate)));
	kv_i64(&kv, "pid", gate_process_pid(from->gate));
	kv_u64(&kv, "restarts", gate_process_restarts(from->gate));
	if (status) {
		kv_text(&kv, "sets", backends[status->backend <= GATE_BACKEND_IPSET ? status->backend : GATE_BACKEND_NONE]);
		for (enum kernel_set set = 0; set < KSET_COUNT; set++)
			kv_u64(&kv, kernel_set_name(set), status->elements[set]);
		kv_u64(&kv, "put_back", status->put_back);
		put_queue(&kv, from, status);
		put_tarpit(&kv, status);
	}
	(void)control_line(client, &kv);
}

static void put_switch(struct kv *kv, const struct master_status_sources *from, uint32_t listen_index)
{
	const struct gate_status *status = from->gate ? gate_process_status(from->gate) : NULL;
	const struct gate_switch *s = status ? &status->switches[listen_index] : NULL;
	/* Where no rule asks, nobody listens when we are dead. */
	kv_text(kv, "when_dead", !s ? "unknown" : s->is_armed && !s->is_closed ? "open" : "closed");
	kv_text(kv, "switch", !s ? "unknown" : s->has_lost_rules ? "lost" : !s->is_armed ? "none" : s->is_alive ? "alive" : "dead");
}

static void answer_checker(const struct master_status_sources *from, struct control_client *client)
{
	struct kv kv;
	if (!from->checker)
		return;
	begin(&kv, "checker");
	kv_text(&kv, "state", worker_state_name(checker_process_state(from->checker)));
	kv_i64(&kv, "pid", checker_process_pid(from->checker));
	kv_u64(&kv, "restarts", checker_process_restarts(from->checker));
	kv_text(&kv, "command", from->conf->check_command);
	(void)control_line(client, &kv);
}

static void answer_listeners(const struct master_status_sources *from, struct control_client *client)
{
	for (size_t g = 0; g < from->listeners->group_count; g++) {
		const struct listener_group *group = &from->listeners->groups[g];
		const struct conf_listen *l = &from->conf->listen[group->listen_index];
		char forward[FORWARD_SPEC_TEXT_CAP], balancers[CIDR_LIST_TEXT_CAP];
		struct kv kv;
		begin(&kv, "listener");
		kv_text(&kv, "interface", l->iface);
		kv_text(&kv, "family", group->family == ADDR_V6 ? "ipv6" : "ipv4");
		kv_text(&kv, "mode", conf_listen_mode_name(l->mode));
		kv_u64(&kv, "port", l->port);
		kv_text(&kv, "trust", l->trusted ? "trusted" : "untrusted");
		kv_text(&kv, "balancers", cidr_list_format(&l->balancers, balancers));
		kv_text(&kv, "fail", conf_listen_fail_name(l->fail));
		if (l->mode != LISTEN_DIRECT)
			put_switch(&kv, from, group->listen_index);
		kv_text(&kv, "forward", forward_spec_format(&l->forward, forward));
		kv_text(&kv, "identity", conf_identity_name(l->identity));
		(void)control_line(client, &kv);
	}
}

static void answer_counters(const struct master_status_sources *from, struct control_client *client)
{
	struct kv kv;
	begin(&kv, "counters");
	for (int id = 0; id < COUNTER_COUNT; id++)
		kv_u64(&kv, counter_name((enum counter)id), counters_sum(from->counters, (enum counter)id));
	(void)control_line(client, &kv);
}

static void answer_milters(const struct master_status_sources *from, struct control_client *client)
{
	struct milter_specs specs;
	conf_milters(from->conf, &specs);
	for (size_t i = 0; i < specs.count; i++) {
		struct milter_counters sum;
		char address[MILTER_ADDRESS_CAP];
		struct kv kv;
		begin(&kv, "milter");
		milter_counters_sum(from->counters, i, &sum);
		kv_text(&kv, "name", specs.list[i].name);
		kv_text(&kv, "address", milter_spec_address(&specs.list[i], address));
		kv_text(&kv, "state", sum.state == MILTER_UP ? "up" : sum.state == MILTER_DOWN ? "down" : "untried");
		kv_text(&kv, "fail", milter_fail_name(specs.list[i].fail));
		for (int id = 0; id < MILTER_COUNTER_COUNT; id++)
			kv_u64(&kv, milter_counter_name((enum milter_counter)id), sum.values[id]);
		/* A worker may have written anything there. */
		kv_text(&kv, "last_error", sum.last_error ? err_name(sum.last_error < 1000 ? -(int)sum.last_error : ERR_INVAL) : "");
		kv_u64(&kv, "last_failed", sum.last_failed_time);
		(void)control_line(client, &kv);
	}
}

static void answer_spool(const struct master_status_sources *from, struct control_client *client)
{
	const struct spool_space_limits limits = { from->conf->min_free_bytes, from->conf->min_free_inodes };
	struct spool_space space;
	struct kv kv;
	begin(&kv, "spool");
	if (spool_space_get(from->spool_fd, &space) == 0) {
		kv_u64(&kv, "free_bytes", space.free_bytes);
		kv_u64(&kv, "free_inodes", space.free_inodes);
	}
	kv_u64(&kv, "min_free_bytes", limits.min_free_bytes);
	kv_u64(&kv, "min_free_inodes", limits.min_free_inodes);
	kv_text(&kv, "accepting", spool_space_check(from->spool_fd, &limits, NULL) == 0 ? "yes" : "no");
	(void)control_line(client, &kv);
}

void master_status_answer(const struct master_status_sources *from, struct control_client *client, struct span request)
{
	if (span_eq(span_trim(request), SPAN_LIT("rules stats"))) {
		rule_stats_answer(from->rule_stats, client);
		return;
	}
	if (span_starts_nocase(span_trim(request), SPAN_LIT("set "))) {
		if (from->gate)
			gate_process_ask(from->gate, client, span_trim(request));
		else
			control_end(client, ERR_UNSUPPORTED, "there is no gate: postern.conf says gate = no");
		return;
	}
	if (!span_eq(span_trim(request), SPAN_LIT("status"))) {
		control_end(client, ERR_INVAL, "posternd answers: status, rules stats, set");
		return;
	}
	answer_daemon(from, client);
	answer_workers(from, client);
	answer_checker(from, client);
	answer_listeners(from, client);
	answer_gate(from, client);
	answer_milters(from, client);
	answer_counters(from, client);
	answer_spool(from, client);
	control_end(client, 0, "");
}
