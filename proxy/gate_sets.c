#include "gate_sets.h"

#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow_cleaner.h"
#include "ipset.h"
#include "iptables_watch.h"
#include "log.h"
#include "nft_sets.h"
#include "set_listing.h"
#include "set_restore.h"

#define HEAR_A_TURN 2000u
#define SWEEP_A_BEAT 100000u
#define LEARNED_EVERY_S 60u

struct gate_sets {
	struct loop *loop;
	struct gate_kernel kernel;
	struct nfnl *changes;
	struct loop_io *changes_io;
	struct loop_task examine_task;
	struct flow_cleaner *cleaner;
	struct set_table *table;
	struct set_restore restore;
	struct iptables_watch iptables;
	bool was_filled[KSET_COUNT]; /* an ipset had elements at the last look */
	bool is_blind;        /* the table could not be read: once more at the next beat */
	bool is_stale;        /* chains that are in the snapshot were taken away since */
	bool is_known;        /* something was found or not found once, and logged */
	bool is_listed[KSET_COUNT], is_unlisted_news[KSET_COUNT];
	unsigned beats;

	/* of the generation under way */
	bool has_table_gone, has_table_come, has_chain_gone, has_changed;

	struct heartbeat_iface ifaces[CONF_LISTEN_MAX];
	size_t iface_count;
	uint64_t dead_after_ms;
	bool has_told_closed; /* the set closed is as fail says */
	uint64_t renewed_ms;  /* when alive was, by the loop's clock; 0: at the next beat in any case */
	enum gate_backend backend;
	uint64_t put_back;
	loop_fn kept_changed;
	void *ctx;
};

/* ---- what is there */

static void set_backend(struct gate_sets *s, enum gate_backend backend)
{
	static const char *const said[] = {
		[GATE_BACKEND_NONE] = "the kernel has no sets of ours: postern-divert up makes them, then they are used",
		[GATE_BACKEND_NFT] = "the sets of the table inet postern are kept here",
		[GATE_BACKEND_IPSET] = "the ipsets postern_... are kept here",
	};
	if (!s->is_known || s->backend != backend)
		log_event(LOG_LEVEL_INFO, backend == GATE_BACKEND_NONE ? "gate-idle" : "gate-sets", "%s", said[backend]);
	s->is_known = true;
	s->backend = backend;
}

static void warn_flushed(const struct gate_sets *s, enum kernel_set set)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "ipset-flushed");
	kv_text(&kv, "set", kernel_set_name(set));
	kv_u64(&kv, "elements", set_table_count(s->table, set));
	kv_text(&kv, "msg", "what was in the ipset is put back; postern set del is how to take it out");
	log_kv(LOG_LEVEL_WARN, &kv);
}

/* Does the table have some that the kernel does not let expire just now? */
static bool has_lasting(const struct gate_sets *s, enum kernel_set set)
{
	struct set_entry entry;
	size_t cursor = 0;
	int64_t soon = loop_wall_time() + 2;
	while (set_table_count(s->table, set) && set_table_next(s->table, &cursor, &entry))
		if (entry.set == set && entry.is_in_kernel && (!entry.element.expires_at || entry.element.expires_at > soon))
			return true;
	return false;
}

/* Nobody tells of changes: an ipset with elements that has none all at once was flushed, or made anew.  Looked at before each listing, which
 * would take it for the truth. */
static void look_for_flush(struct gate_sets *s, enum kernel_set set)
{
	struct ipset_size size;
	if (ipset_size(s->kernel.nl, set, &size) != 0) {
		loop_task_post(s->loop, &s->examine_task);
		return;
	}
	if (s->was_filled[set] && size.elements == 0 && has_lasting(s, set)) {
		warn_flushed(s, set);
		set_table_lost(s->table, set);
		set_restore_begin(&s->restore);
		s->put_back++;
	}
	s->was_filled[set] = size.elements > 0;
}

static void list_set(struct gate_sets *s, enum kernel_set set)
{
	bool was_listed = s->is_listed[set];
	if (s->kernel.has_ipset[set] && was_listed)
		look_for_flush(s, set);
	int err = gate_kernel_list(&s->kernel, s->table, set);
	s->is_listed[set] = s->is_listed[set] || !err;
	/* Cut short, mostly by a change: once more at the next beat. */
	s->is_unlisted_news[set] = err && err != ERR_NOTFOUND;
	/* Only now is it known what is there already. */
	if (s->is_listed[set] && !was_listed)
		set_restore_begin(&s->restore);
}

static void examine(void *ctx)
{
	struct gate_sets *s = ctx;
	int err = nft_snapshot_take(s->kernel.nl, &s->kernel.snapshot);
	bool was_blind = s->is_blind;
	s->is_blind = err && err != ERR_NOTFOUND;
	if (s->is_blind) {
		if (!was_blind)
			log_event(LOG_LEVEL_ERR, "gate-blind", "the table inet postern cannot be read (%s)", err_name(err));
		return;
	}
	s->is_stale = false;
	s->has_told_closed = false;
	s->renewed_ms = 0;
	bool is_found = s->kernel.snapshot.has_alive, is_ipset = false;
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		is_found = is_found || s->kernel.snapshot.has_set[set];
	for (enum kernel_set set = 0; set < KSET_COUNT; set++) {
		s->kernel.has_ipset[set] = !is_found && ipset_exists(s->kernel.nl, set);
		is_ipset = is_ipset || s->kernel.has_ipset[set];
	}
	for (enum kernel_set set = 0; set < KSET_COUNT; set++) {
		if (!gate_kernel_has_set(&s->kernel, set)) {
			s->is_listed[set] = false;
			set_table_lost(s->table, set);
		} else if (!s->is_listed[set])
			list_set(s, set);
	}
	set_backend(s, is_found ? GATE_BACKEND_NFT : is_ipset ? GATE_BACKEND_IPSET : GATE_BACKEND_NONE);
	set_restore_begin(&s->restore);
}

static void all_lost(struct gate_sets *s)
{
	for (enum kernel_set set = 0; set < KSET_COUNT; set++) {
		s->is_listed[set] = false;
		set_table_lost(s->table, set);
	}
}

/* ---- the heart */

static void write_heartbeat(struct gate_sets *s)
{
	struct heartbeat_iface ifaces[CONF_LISTEN_MAX];
	memcpy(ifaces, s->ifaces, sizeof ifaces);
	for (size_t i = 0; s->has_told_closed && i < s->iface_count; i++)
		ifaces[i].fail = HEARTBEAT_LEAVE;
	heartbeat_write(&s->kernel.batch, ifaces, s->iface_count, s->dead_after_ms);
}

/* Every transaction makes nft begin its listings anew, so there is none that is not needed: half of the time passes, if another beat then fits in. */
static bool is_due(const struct gate_sets *s)
{
	uint64_t since_ms = loop_now_ms(s->loop) - s->renewed_ms;
	return s->renewed_ms == 0 || !s->has_told_closed || since_ms + GATE_BEAT_MS > s->dead_after_ms / 2 + GATE_BEAT_MS / 4;
}

static void renew(struct gate_sets *s)
{
	nft_batch_begin(&s->kernel.batch);
	write_heartbeat(s);
	s->has_told_closed = gate_kernel_commit(&s->kernel, NULL) == 0;
	s->renewed_ms = s->has_told_closed ? loop_now_ms(s->loop) : 0;
}

static void put_table_back(struct gate_sets *s, const struct nft_message *culprit)
{
	struct kv kv;
	int errnum = 0;
	s->has_told_closed = false;
	nft_batch_begin(&s->kernel.batch);
	nft_snapshot_write(&s->kernel.snapshot, &s->kernel.batch);
	if (s->kernel.snapshot.has_alive)
		write_heartbeat(s);
	int err = gate_kernel_commit(&s->kernel, &errnum);
	kv_init(&kv);
	kv_text(&kv, "ev", err ? "put-back-failed" : "put-back");
	kv_span(&kv, "flushed_by", culprit->process);
	kv_u64(&kv, "pid", culprit->pid);
	if (err)
		kv_text(&kv, "why", strerror(errnum));
	kv_text(&kv, "msg", err ? "the table inet postern was flushed: run postern-divert up again" :
				  "the table inet postern was flushed and is back; postern-divert down is how to be rid of it");
	log_kv(LOG_LEVEL_WARN, &kv);
	s->put_back += !err;
}

/* ---- news */

static void take_element(struct gate_sets *s, enum kernel_set set, const struct nft_element *element, bool is_deletion)
{
	struct kernel_element e;
	if (!nft_sets_element(set, element, loop_wall_time(), &e))
		return;
	if (is_deletion)
		(void)set_table_remove(s->table, set, &e);
	else
		(void)set_table_put(s->table, set, &e, true);
}

struct element_news {
	struct gate_sets *s;
	enum kernel_set set;
	bool is_deletion;
};

static void element_news(void *ctx, const struct nft_element *element)
{
	const struct element_news *news = ctx;
	take_element(news->s, news->set, element, news->is_deletion);
}

static void take_elements(struct gate_sets *s, const struct nft_message *m, const struct nlmsghdr *message)
{
	struct element_news news = { .s = s, .is_deletion = m->is_deletion };
	if (span_eq(m->name, SPAN_LIT("alive")))
		return;
	if (kernel_set_find(m->name, &news.set))
		s->has_changed = true;
	else if (kernel_set_is_net(news.set))
		/* Half a range at a time: read together. */
		s->is_unlisted_news[news.set] = true;
	else
		nft_message_elements(message, element_news, &news);
}

static void end_generation(struct gate_sets *s, const struct nft_message *m)
{
	bool is_gone = s->has_table_gone && !s->has_table_come;
	s->iptables.is_due = true;
	if (s->has_table_gone)
		all_lost(s);
	/* Chains that were taken away by themselves, before the table, were meant to go: then the snapshot is stale, or has none. */
	if (is_gone && !s->is_stale && nft_snapshot_has_chains(&s->kernel.snapshot))
		put_table_back(s, m);
	s->is_stale = s->is_stale || (s->has_chain_gone && !s->has_table_gone);
	if (s->has_table_gone || s->has_table_come || s->has_changed)
		loop_task_post(s->loop, &s->examine_task);
	s->has_table_gone = s->has_table_come = s->has_chain_gone = s->has_changed = false;
}

static int hear(void *ctx, const struct nlmsghdr *message)
{
	struct gate_sets *s = ctx;
	struct nft_message m;
	nft_message_read(message, &m);
	switch (m.kind) {
	case NFT_TABLE_ITSELF:
		/* One that comes back in the same breath is another one. */
		s->has_table_gone = s->has_table_gone || m.is_deletion;
		s->has_table_come = !m.is_deletion;
		break;
	case NFT_CHAIN:
	case NFT_RULE:
	case NFT_SET:
		s->has_changed = true;
		s->has_chain_gone = s->has_chain_gone || (m.kind == NFT_CHAIN && m.is_deletion);
		break;
	case NFT_ELEMENTS: take_elements(s, &m, message); break;
	case NFT_GENERATION: end_generation(s, &m); break;
	case NFT_OTHER: break;
	}
	return 0;
}

static void changes_due(void *ctx, unsigned events)
{
	struct gate_sets *s = ctx;
	(void)events;
	if (nfnl_hear(s->changes, HEAR_A_TURN, hear, s) != ERR_NOSPACE)
		return;
	log_event(LOG_LEVEL_INFO, "gate-missed", "more changes of nft at once than could be heard: everything is read again");
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		s->is_unlisted_news[set] = true;
	s->is_stale = s->iptables.is_due = true;
	s->has_table_gone = s->has_table_come = s->has_chain_gone = s->has_changed = false;
	loop_task_post(s->loop, &s->examine_task);
}

/* ---- each second */

/* Rules of the kernel's own add to these and tell nobody. */
static bool is_learned(enum kernel_set set)
{
	return set == KSET_PASS4 || set == KSET_PASS6;
}

/* Nobody tells when ipsets come and go: the switch says it where there is one, else they are looked for. */
static void beat_ipsets(struct gate_sets *s)
{
	struct heartbeat_iface there[CONF_LISTEN_MAX];
	size_t there_count = 0;
	for (size_t i = 0; i < s->iface_count; i++)
		if (ipset_heartbeat(s->kernel.nl, &s->ifaces[i], s->dead_after_ms) == 0)
			there[there_count++] = s->ifaces[i];
	bool is_any = there_count > 0;
	if (is_any != (s->backend == GATE_BACKEND_IPSET))
		loop_task_post(s->loop, &s->examine_task);
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		if (s->kernel.has_ipset[set] && s->is_listed[set])
			look_for_flush(s, set);
	if (is_any)
		iptables_watch_beat(&s->iptables, s->kernel.nl, there, there_count);
}

void gate_sets_beat(struct gate_sets *s, const struct heartbeat_iface *ifaces, size_t count, uint64_t dead_after_ms)
{
	if (s->iface_count != count || memcmp(s->ifaces, ifaces, count * sizeof *ifaces) != 0 || s->dead_after_ms != dead_after_ms)
		s->has_told_closed = false;
	memcpy(s->ifaces, ifaces, count * sizeof *ifaces);
	s->iface_count = count;
	s->dead_after_ms = dead_after_ms;
	if (!s->kernel.snapshot.has_alive)
		beat_ipsets(s);
	else if (is_due(s))
		renew(s);
	s->beats++;
	if (s->is_blind)
		loop_task_post(s->loop, &s->examine_task);
	if (s->restore.has_waiting)
		set_restore_begin(&s->restore);
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		if (gate_kernel_has_set(&s->kernel, set) && (s->is_unlisted_news[set] || ((is_learned(set) || s->kernel.has_ipset[set]) && s->beats % LEARNED_EVERY_S == 0)))
			list_set(s, set);
	set_table_sweep(s->table, loop_wall_time(), SWEEP_A_BEAT);
}

void gate_sets_learn(struct gate_sets *s)
{
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		if (gate_kernel_has_set(&s->kernel, set) && (is_learned(set) || s->kernel.has_ipset[set]))
			list_set(s, set);
}

/* ---- by order */

int gate_sets_add(struct gate_sets *s, enum kernel_set set, const struct kernel_element *e, struct reason *why)
{
	int errnum = 0;
	if (!gate_kernel_has_set(&s->kernel, set))
		return reason_set(why, ERR_UNSUPPORTED, "the kernel has no set %s: run postern-divert up first", kernel_set_name(set));
	int err = gate_kernel_renew(&s->kernel, set, e, loop_wall_time(), &errnum);
	if (!err)
		err = set_table_put(s->table, set, e, true);
	if (!err && set != KSET_PASS4 && set != KSET_PASS6)
		flow_cleaner_add(s->cleaner, e);
	if (err == ERR_BUSY)
		return reason_set(why, err, "overlaps with something else in %s", kernel_set_name(set));
	return err ? reason_set(why, err, "%s: %s", kernel_set_name(set), errnum ? strerror(errnum) : err_name(err)) : 0;
}

int gate_sets_delete(struct gate_sets *s, enum kernel_set set, const struct kernel_element *e, struct reason *why)
{
	int errnum = 0;
	bool was_known = set_table_remove(s->table, set, e);
	if (was_known && s->kept_changed)
		s->kept_changed(s->ctx);
	if (!gate_kernel_has_set(&s->kernel, set))
		return was_known ? 0 : reason_set(why, ERR_NOTFOUND, "not in %s", kernel_set_name(set));
	int err = gate_kernel_delete(&s->kernel, set, e, &errnum);
	if (err && was_known && s->kernel.has_ipset[set])
		return 0;
	if (err == ERR_NOTFOUND)
		return reason_set(why, err, "not in %s", kernel_set_name(set));
	return err ? reason_set(why, err, "%s: %s", kernel_set_name(set), strerror(errnum)) : 0;
}

bool gate_sets_has(const struct gate_sets *s, enum kernel_set set, const struct addr *address)
{
	const struct kernel_element e = { .from = *address, .to = *address };
	struct set_entry entry;
	return set_table_find(s->table, set, &e, &entry) && (!entry.element.expires_at || entry.element.expires_at > loop_wall_time());
}

/* ---- texts */

int gate_sets_text(const struct gate_sets *s)
{
	return set_listing_text(s->table);
}

int gate_sets_listing(const struct gate_sets *s, unsigned wanted)
{
	return set_listing_lines(s->table, wanted);
}

void gate_sets_load(struct gate_sets *s, int fd)
{
	set_listing_load(s->table, fd);
}

/* ---- state */

void gate_sets_status(const struct gate_sets *s, struct gate_status *out)
{
	out->backend = (uint32_t)s->backend;
	out->put_back = s->put_back;
	for (enum kernel_set set = 0; set < KSET_COUNT; set++)
		out->elements[set] = set_table_count(s->table, set);
}

void gate_sets_switch(const struct gate_sets *s, const char *iface, struct gate_switch *out)
{
	char chain[32], key[16] = "";
	*out = (struct gate_switch){ .is_armed = 0 };
	(void)snprintf(chain, sizeof chain, "refuse_%s", iface);
	memcpy(key, iface, strnlen(iface, sizeof key));
	out->is_armed = nft_snapshot_has_chain(&s->kernel.snapshot, span_of(chain));
	out->is_closed = nft_snapshot_has_element(&s->kernel.snapshot, SPAN_LIT("closed"), (struct span){ key, sizeof key });
	if (s->backend == GATE_BACKEND_IPSET) {
		bool is_armed = false, is_closed = false;
		ipset_switch(s->kernel.nl, iface, &is_armed, &is_closed);
		out->has_lost_rules = iptables_watch_has_lost(&s->iptables, iface);
		out->is_armed = is_armed;
		out->is_closed = is_closed;
	}
	for (size_t i = 0; i < s->iface_count; i++) {
		if (strncmp(s->ifaces[i].name, iface, sizeof s->ifaces[i].name) != 0)
			continue;
		out->is_alive = (s->kernel.snapshot.has_alive || s->backend == GATE_BACKEND_IPSET) && s->ifaces[i].is_alive;
		if (s->ifaces[i].fail != HEARTBEAT_LEAVE)
			out->is_closed = s->ifaces[i].fail == HEARTBEAT_CLOSED;
	}
}

/* ---- life */

int gate_sets_create_prepriv(struct gate_sets **out, struct reason *why)
{
	struct gate_sets *s = calloc(1, sizeof *s);
	if (!s)
		return reason_set(why, ERR_NOMEM, "no memory");
	int err = set_table_create(&s->table);
	if (!err)
		err = gate_kernel_open(&s->kernel, why);
	if (!err)
		err = nfnl_open_changes(&s->changes, why);
	if (!err)
		err = flow_cleaner_create_prepriv(&s->cleaner, why);
	if (err) {
		gate_sets_destroy(&s);
		return err;
	}
	s->restore = (struct set_restore){ .kernel = &s->kernel, .table = s->table, .is_listed = s->is_listed, .set = KSET_COUNT };
	*out = s;
	return 0;
}

/* pass comes before all the others, in the kernel's rules as well. */
static bool is_passed(void *ctx, const struct addr *client)
{
	return gate_sets_has(ctx, kernel_set_of(KSET_PASS, (enum addr_family)client->family), client);
}

int gate_sets_start(struct gate_sets *s, struct loop *loop, loop_fn kept_changed, void *ctx)
{
	s->loop = loop;
	s->kept_changed = kept_changed;
	s->ctx = ctx;
	s->examine_task = (struct loop_task){ .fn = examine, .ctx = s };
	set_restore_start(&s->restore, loop);
	int err = loop_io_create(loop, nfnl_fd(s->changes), changes_due, s, &s->changes_io);
	if (!err)
		err = loop_io_want(s->changes_io, LOOP_READ);
	if (!err)
		err = flow_cleaner_start(s->cleaner, loop, is_passed, s);
	loop_task_post(loop, &s->examine_task);
	return err;
}

void gate_sets_destroy(struct gate_sets **sets)
{
	struct gate_sets *s = *sets;
	if (!s)
		return;
	if (s->loop)
		loop_task_cancel(&s->examine_task);
	set_restore_stop(&s->restore);
	loop_io_destroy(&s->changes_io);
	gate_kernel_close(&s->kernel);
	nfnl_close(&s->changes);
	flow_cleaner_destroy(&s->cleaner);
	set_table_destroy(&s->table);
	free(s);
	*sets = NULL;
}
