#include "role_gate.h"

#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gate_messages.h"
#include "gate_questions.h"
#include "gate_sets.h"
#include "ipc.h"
#include "log.h"
#include "priv.h"
#include "syn_side.h"

#define SETUP_TIMEOUT_MS 10000
#define KEEP_EVERY_MS (5u * 60 * 1000)
#define KEEP_SOON_MS 2000u

struct gate {
	struct gate_setup setup;
	int chroot_fd, kept_fd;
	struct gate_sets *sets;
	struct loop *loop;
	struct ipc_channel *master;
	struct loop_timer *still_timer, *keep_timer;
	struct syn_side *syns;
	struct gate_beat beat;
};

/* ---- receive, open, drop */

static int receive_prepriv(struct gate *g, struct reason *why)
{
	struct ipc_message msg;
	int err = ipc_receive_wait(ROLE_CONTROL_FD, SETUP_TIMEOUT_MS, &msg);
	if (err)
		return reason_set(why, err, "no setup from the master (%s)", err_name(err));
	if (msg.type == GATE_SETUP && msg.len == sizeof g->setup && msg.fd_count >= 1) {
		memcpy(&g->setup, msg.payload, sizeof g->setup);
		g->chroot_fd = msg.fds[0];
		msg.fds[0] = -1;
		g->kept_fd = msg.fd_count > 1 ? msg.fds[1] : -1;
		if (g->kept_fd >= 0)
			msg.fds[1] = -1;
		log_setup("posternd/gate", (enum log_form)g->setup.log_form, (enum log_level)g->setup.conf.conf.log_level);
	} else {
		err = reason_set(why, ERR_PROTO, "a setup that makes no sense");
	}
	ipc_message_drop(&msg);
	return err;
}

static void learn(void *ctx, enum syn_outcome outcome, const struct addr *client);

static int open_syns_prepriv(struct gate *g, struct reason *why)
{
	const struct syn_side_parts parts = { &g->setup.conf.conf, (size_t)g->setup.workers, learn, g };
	return syn_side_open_prepriv(&parts, &g->syns, why);
}

static int drop(const struct gate *g, struct reason *why)
{
	/* Netlink asks at each message whether its sender has it. */
	struct priv_plan plan = { .user = g->setup.user, .has_chroot = true, .chroot_fd = g->chroot_fd, .keep_caps = 1ull << CAP_NET_ADMIN };
	int err = priv_drop(&plan, why);
	return err ? err : priv_restrict_gate(why);
}

/* ---- run */

static size_t list_ifaces(const struct gate *g, struct heartbeat_iface ifaces[CONF_LISTEN_MAX])
{
	static const enum heartbeat_fail fails[] = { [FAIL_DEFAULT] = HEARTBEAT_LEAVE, [FAIL_OPEN] = HEARTBEAT_OPEN, [FAIL_CLOSED] = HEARTBEAT_CLOSED };
	const struct conf *conf = &g->setup.conf.conf;
	size_t count = 0;
	for (size_t i = 0; i < conf->listen_count; i++) {
		const struct conf_listen *l = &conf->listen[i];
		if (l->mode == LISTEN_DIRECT)
			continue;
		ifaces[count] = (struct heartbeat_iface){ .is_alive = g->beat.accepts[i], .fail = fails[l->fail] };
		memcpy(ifaces[count++].name, l->iface, sizeof l->iface);
	}
	return count;
}

static void send_status(struct gate *g)
{
	const struct conf *conf = &g->setup.conf.conf;
	struct gate_status status;
	memset(&status, 0, sizeof status);
	gate_sets_status(g->sets, &status);
	for (size_t i = 0; i < conf->listen_count; i++)
		if (conf->listen[i].mode != LISTEN_DIRECT)
			gate_sets_switch(g->sets, conf->listen[i].iface, &status.switches[i]);
	status.has_queue = syn_side_has_queue(g->syns);
	status.rules_generation = syn_side_rules_generation(g->syns);
	status.syns = *syn_side_counts(g->syns);
	const struct tarpit_gate_counts *tarpit = syn_side_tarpit_counts(g->syns);
	status.has_tarpit = tarpit != NULL;
	if (tarpit)
		status.tarpit = *tarpit;
	(void)ipc_channel_send(g->master, GATE_STATUS, &status, sizeof status, NULL, 0);
}

static void take_beat(struct gate *g, const struct ipc_message *msg)
{
	const struct conf *conf = &g->setup.conf.conf;
	struct heartbeat_iface ifaces[CONF_LISTEN_MAX];
	memset(ifaces, 0, sizeof ifaces);
	memcpy(&g->beat, msg->payload, sizeof g->beat);
	loop_timer_start(g->still_timer, conf->dead_after_s * 1000);
	gate_sets_beat(g->sets, ifaces, list_ifaces(g, ifaces), conf->dead_after_s * 1000);
	syn_side_tick(g->syns);
	send_status(g);
}

static void keep(struct gate *g)
{
	gate_sets_learn(g->sets);
	int fd = gate_sets_text(g->sets);
	if (fd < 0 || ipc_channel_send(g->master, GATE_KEEP, NULL, 0, &fd, 1) != 0)
		log_event(LOG_LEVEL_ERR, "sets-not-kept", "what is in the sets could not be handed to the master");
	if (fd >= 0)
		(void)close(fd);
}

static void keep_due(void *ctx)
{
	struct gate *g = ctx;
	loop_timer_start(g->keep_timer, KEEP_EVERY_MS);
	keep(g);
}

/* What was deleted must not come back, should the host go down now. */
static void keep_soon(void *ctx)
{
	const struct gate *g = ctx;
	loop_timer_start(g->keep_timer, KEEP_SOON_MS);
}

static void answer(struct gate *g, const struct ipc_message *msg)
{
	struct gate_question question;
	struct gate_answer said;
	int fd = -1;
	memset(&said, 0, sizeof said);
	memcpy(&question, msg->payload, sizeof question);
	if (question.len > sizeof question.text)
		return;
	said.ticket = question.ticket;
	said.err = gate_questions_answer(g->sets, (struct span){ question.text, question.len }, &fd, &said.why);
	(void)ipc_channel_send(g->master, GATE_ANSWER, &said, sizeof said, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		(void)close(fd);
}

/* Who is blocked or held is not let pass, and the other way round: the last word counts. */
static void take_client(struct gate *g, const struct gate_client *client)
{
	static const struct {
		enum kernel_set_purpose other; /* where it is no more */
		const char *event;
	} ways[] = { [KSET_BLOCK] = { KSET_PASS, "client-blocked" }, [KSET_PASS] = { KSET_BLOCK, "client-passed" }, [KSET_TARPIT] = { KSET_PASS, "client-tarpitted" } };
	const struct conf *conf = &g->setup.conf.conf;
	const uint64_t times_s[] = { [KSET_BLOCK] = conf->block_time_s, [KSET_PASS] = conf->pass_time_s, [KSET_TARPIT] = conf->tarpit_time_s };
	enum addr_family family = (enum addr_family)client->addr.family;
	struct kernel_element e = { .from = client->addr, .to = client->addr };
	struct reason why = { "" };
	struct kv kv;
	/* A tarpit-time that a reload has just taken away is no time for good. */
	if ((family != ADDR_V4 && family != ADDR_V6) || client->purpose > KSET_TARPIT || times_s[client->purpose] == 0)
		return;
	enum kernel_set_purpose purpose = (enum kernel_set_purpose)client->purpose;
	enum kernel_set other = kernel_set_of(ways[purpose].other, family);
	if (gate_sets_has(g->sets, other, &client->addr))
		(void)gate_sets_delete(g->sets, other, &e, NULL);
	e.expires_at = loop_wall_time() + (int64_t)times_s[purpose];
	int err = gate_sets_add(g->sets, kernel_set_of(purpose, family), &e, &why);
	kv_init(&kv);
	kv_text(&kv, "ev", ways[purpose].event);
	kv_addr(&kv, "client", &client->addr);
	kv_u64(&kv, "seconds", times_s[purpose]);
	if (err)
		kv_text(&kv, "failed", why.text);
	log_kv(LOG_LEVEL_INFO, &kv);
}

/* Judged at the SYN. */
static void learn(void *ctx, enum syn_outcome outcome, const struct addr *client)
{
	const struct gate_client what = { .purpose = outcome == SYN_DROP ? KSET_BLOCK : KSET_PASS, .addr = *client };
	take_client(ctx, &what);
}

static void take_conf(struct gate *g, const struct ipc_message *msg)
{
	const struct name_servers was = g->setup.conf.name_servers;
	memcpy(&g->setup.conf, msg->payload, sizeof g->setup.conf);
	log_set_level((enum log_level)g->setup.conf.conf.log_level);
	/* What the others said the workers forget, too (resolver.h). */
	if (memcmp(&was, &g->setup.conf.name_servers, sizeof was) != 0)
		syn_side_forget_lists(g->syns);
}

static void from_master(void *ctx, struct ipc_message *msg)
{
	struct gate *g = ctx;
	struct gate_client client;
	struct gate_list_report report;
	switch (msg->type) {
	case GATE_BEAT:
		if (msg->len == sizeof g->beat)
			take_beat(g, msg);
		break;
	case GATE_CLIENT:
		if (msg->len == sizeof client) {
			memcpy(&client, msg->payload, sizeof client);
			take_client(g, &client);
		}
		break;
	case GATE_ASK:
		if (msg->len == sizeof(struct gate_question))
			answer(g, msg);
		break;
	case GATE_CONF:
		if (msg->len == sizeof g->setup.conf)
			take_conf(g, msg);
		break;
	case GATE_LIST_REPORT:
		if (msg->len == sizeof report) {
			memcpy(&report, msg->payload, sizeof report);
			syn_side_take_report(g->syns, &report);
		}
		break;
	case GATE_RULES: syn_side_take_rules(g->syns, msg); break;
	case GATE_END:
		keep(g);
		loop_stop(g->loop);
		break;
	default: break;
	}
}

/* No renewal without the master's word; what is in the kernel runs out by itself.  So nothing needs to be done but to say it. */
static void master_still(void *ctx)
{
	const struct gate *g = ctx;
	log_event(LOG_LEVEL_ERR, "gate-no-beat", "the master has said nothing for %llu s: the kernel does what fail says",
		  (unsigned long long)g->setup.conf.conf.dead_after_s);
}

static void master_gone(void *ctx, int err)
{
	struct gate *g = ctx;
	(void)err;
	log_event(LOG_LEVEL_ERR, "master-gone", "the master died: the kernel does what fail says");
	loop_stop(g->loop);
}

static int build(struct gate *g, struct reason *why)
{
	int err = loop_create(&g->loop);
	if (!err)
		err = loop_timer_create(g->loop, master_still, g, &g->still_timer);
	if (!err)
		err = loop_timer_create(g->loop, keep_due, g, &g->keep_timer);
	if (!err)
		err = gate_sets_start(g->sets, g->loop, keep_soon, g);
	if (!err)
		err = ipc_channel_create(g->loop, ROLE_CONTROL_FD, from_master, master_gone, g, &g->master);
	if (!err)
		err = syn_side_start(g->syns, g->loop);
	if (err)
		return reason_set(why, err, "the event loop cannot be set up (%s)", err_name(err));
	loop_timer_start(g->keep_timer, KEEP_EVERY_MS);
	return ipc_channel_send(g->master, GATE_READY, NULL, 0, NULL, 0);
}

static void take_down(struct gate *g)
{
	syn_side_destroy(&g->syns);
	loop_timer_destroy(&g->still_timer);
	loop_timer_destroy(&g->keep_timer);
	gate_sets_destroy(&g->sets);
	ipc_channel_destroy(&g->master);
	loop_destroy(&g->loop);
}

int role_gate_run(void)
{
	static struct gate g = { .chroot_fd = -1, .kept_fd = -1 };
	struct role_failed failed = { .why = { "" } };
	priv_start_process();
	(void)prctl(PR_SET_NAME, "postern-gate", 0, 0, 0);
	/* Whoever signals the whole group means the master: it says over the channel what to do. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
	int err = receive_prepriv(&g, &failed.why);
	if (!err)
		err = gate_sets_create_prepriv(&g.sets, &failed.why);
	if (!err)
		err = open_syns_prepriv(&g, &failed.why);
	if (!err)
		err = drop(&g, &failed.why);
	if (!err && g.kept_fd >= 0) {
		gate_sets_load(g.sets, g.kept_fd);
		(void)close(g.kept_fd);
	}
	if (!err)
		err = build(&g, &failed.why);
	if (err) {
		(void)ipc_send(ROLE_CONTROL_FD, GATE_FAILED, &failed, sizeof failed, NULL, 0);
		return 1;
	}
	loop_run(g.loop);
	take_down(&g);
	return 0;
}
