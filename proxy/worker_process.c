#include "worker_process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "role_exec.h"

#define BACKOFF_MIN_MS 200u
#define BACKOFF_MAX_MS 30000u
#define LONG_LIFE_MS 60000u

struct worker_process {
	struct loop *loop;
	uint32_t index, generation;
	const struct worker_supply *supply;
	struct counter_slot *counters;
	struct worker_process_events events;
	enum worker_state state;
	pid_t pid;
	struct ipc_channel *channel;
	struct loop_timer *restart_timer;
	uint64_t backoff_ms, started_ms, restarts;
	uint64_t heartbeats; /* at the last look */
	unsigned still;      /* looks since it changed */
	uint64_t rules_at_start, rules_sent, rules_taken; /* generations */
	bool needs_rules_again; /* those sent last, or the configuration, did not arrive or could not be taken */
	bool was_ready; /* once, ever: before that a death is a failed start */
	bool is_draining;
	struct reason failure; /* what the dying worker said */
};

const char *worker_state_name(enum worker_state state)
{
	static const char *const names[] = { "idle", "starting", "running", "waiting", "ended" };
	return names[state];
}

static void set_state(struct worker_process *w, enum worker_state state)
{
	log_event(LOG_LEVEL_DEBUG, "worker-state", "worker %u: %s -> %s", w->index, worker_state_name(w->state), worker_state_name(state));
	w->state = state;
}

/* In the child. */
static void become_worker(int control_fd, uint32_t index)
{
	char title[32];
	(void)snprintf(title, sizeof title, "posternd: session %u", index);
	role_exec(control_fd, title, SESSION_ROLE_ARG);
}

static void restart_due(void *ctx)
{
	worker_process_start(ctx);
}

static void start_later(struct worker_process *w)
{
	set_state(w, WORKER_WAITING);
	w->restarts++;
	loop_timer_start(w->restart_timer, w->backoff_ms);
	w->backoff_ms = w->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : w->backoff_ms * 2;
}

static void channel_closed(void *ctx, int err)
{
	struct worker_process *w = ctx;
	(void)err;
	/* What the worker means by it shows when it is waited for; if it lives on without a channel it is of no use. */
	ipc_channel_destroy(&w->channel);
	if (w->pid > 0 && w->state != WORKER_ENDED && !w->is_draining)
		(void)kill(w->pid, SIGKILL);
}

static void take_rules_taken(struct worker_process *w, const struct role_rules_taken *what)
{
	/* Of those sent before, others were sent meanwhile. */
	if (what->generation != w->rules_sent)
		return;
	if (what->err)
		w->needs_rules_again = true;
	else
		w->rules_taken = what->generation;
	w->events.rules_taken(w->events.ctx, w, what->err ? ERR_AGAIN : 0);
}

static void channel_message(void *ctx, struct ipc_message *msg)
{
	struct worker_process *w = ctx;
	struct role_large_wanted large;
	struct role_rules_taken taken;
	struct role_failed failed;
	struct role_ident_wanted ident;
	struct role_client_verdict told;
	struct role_list_report report;
	struct role_origin_wanted origin;
	struct role_milter_wanted milter;
	switch (msg->type) {
	case ROLE_READY:
		if (w->state != WORKER_STARTING)
			break;
		set_state(w, WORKER_RUNNING);
		w->was_ready = true;
		w->rules_taken = w->rules_at_start;
		w->events.ready(w->events.ctx, w);
		return;
	case ROLE_FAILED:
		if (msg->len != sizeof failed)
			break;
		memcpy(&failed, msg->payload, sizeof failed);
		failed.why.text[sizeof failed.why.text - 1] = '\0';
		reason_set(&w->failure, 0, "%s", failed.why.text);
		return;
	case ROLE_NEED_SEGMENT:
		w->events.need_segment(w->events.ctx, w);
		return;
	case ROLE_NEED_LARGE:
		if (msg->len != sizeof large)
			break;
		memcpy(&large, msg->payload, sizeof large);
		large.id.text[SPOOL_ID_LEN] = '\0';
		if (spool_id_parse(span_of(large.id.text), &large.id))
			break;
		w->events.need_large(w->events.ctx, w, &large.id);
		return;
	case ROLE_RULES_TAKEN:
		if (msg->len != sizeof taken || w->state != WORKER_RUNNING)
			break;
		memcpy(&taken, msg->payload, sizeof taken);
		take_rules_taken(w, &taken);
		return;
	case ROLE_FORWARDER_LOST:
		w->events.forwarder_lost(w->events.ctx, w);
		return;
	case ROLE_CHECKER_LOST:
		w->events.checker_lost(w->events.ctx, w);
		return;
	case ROLE_NEED_MILTER:
		if (msg->len != sizeof milter)
			break;
		memcpy(&milter, msg->payload, sizeof milter);
		w->events.need_milter(w->events.ctx, w, &milter);
		return;
	case ROLE_CLIENT_VERDICT:
		if (msg->len != sizeof told)
			break;
		memcpy(&told, msg->payload, sizeof told);
		w->events.client_verdict(w->events.ctx, w, &told, msg->fd_count == 1 ? msg->fds[0] : -1);
		return;
	case ROLE_LIST_REPORT:
		if (msg->len != sizeof report)
			break;
		memcpy(&report, msg->payload, sizeof report);
		w->events.list_report(w->events.ctx, w, &report, msg->fd_count == 1 ? msg->fds[0] : -1);
		return;
	case ROLE_NEED_IDENT:
		if (msg->len != sizeof ident)
			break;
		memcpy(&ident, msg->payload, sizeof ident);
		w->events.need_ident(w->events.ctx, w, &ident, msg->fd_count == 1 ? msg->fds[0] : -1);
		return;
	case ROLE_NEED_ORIGIN:
		if (msg->len != sizeof origin)
			break;
		memcpy(&origin, msg->payload, sizeof origin);
		w->events.need_origin(w->events.ctx, w, &origin, msg->fd_count == 1 ? msg->fds[0] : -1);
		return;
	default:
		break;
	}
	log_event(LOG_LEVEL_ERR, "worker-protocol", "worker %u sent a message of type %u with %zu bytes that makes no sense: killed", w->index,
		  msg->type, msg->len);
	worker_process_kill(w);
}

static int send_rules(struct worker_process *w)
{
	const int fds[] = { w->supply->rules_fd, w->supply->hits_fd, w->supply->filter_fd };
	const struct role_rules what = { w->supply->rules_generation };
	int err = ipc_channel_send(w->channel, ROLE_RULES, &what, sizeof what, fds, w->supply->filter_fd >= 0 ? 3 : 2);
	w->rules_sent = what.generation;
	if (err)
		w->needs_rules_again = true;
	return err;
}

static int feed(struct worker_process *w)
{
	struct role_setup setup = w->supply->setup;
	setup.worker = w->index;
	setup.generation = w->generation;
	w->needs_rules_again = false;
	int err = ipc_channel_send(w->channel, ROLE_SETUP, &setup, sizeof setup, &w->supply->chroot_fd, 1);
	if (!err)
		err = ipc_channel_send(w->channel, ROLE_COUNTERS, NULL, 0, &w->supply->counters_fd, 1);
	if (!err)
		err = send_rules(w);
	w->rules_at_start = w->rules_sent;
	for (size_t g = 0; !err && g < w->supply->listeners->group_count; g++) {
		const struct listener_group *group = &w->supply->listeners->groups[g];
		struct role_listener what = { .listen_index = group->listen_index, .family = group->family };
		err = ipc_channel_send(w->channel, ROLE_LISTENER, &what, sizeof what, &group->fds[w->index], 1);
	}
	return err ? err : ipc_channel_send(w->channel, ROLE_GO, NULL, 0, NULL, 0);
}

void worker_process_start(struct worker_process *w)
{
	int fds[2];
	if (w->is_draining)
		return;
	w->generation++;
	w->failure.text[0] = '\0';
	int err = ipc_pair(fds);
	if (err) {
		log_event(LOG_LEVEL_ERR, "worker-start-failed", "worker %u: no socket pair (%s)", w->index, err_name(err));
		start_later(w);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		become_worker(fds[1], w->index);
	(void)close(fds[1]);
	if (pid < 0) {
		log_event(LOG_LEVEL_ERR, "worker-start-failed", "worker %u: fork: %s", w->index, strerror(errno));
		(void)close(fds[0]);
		start_later(w);
		return;
	}
	w->pid = pid;
	w->started_ms = loop_now_ms(w->loop);
	w->still = 0;
	set_state(w, WORKER_STARTING);
	err = ipc_channel_create(w->loop, fds[0], channel_message, channel_closed, w, &w->channel);
	if (err)
		(void)close(fds[0]);
	else
		err = feed(w);
	if (err) {
		log_event(LOG_LEVEL_ERR, "worker-start-failed", "worker %u cannot be fed (%s)", w->index, err_name(err));
		worker_process_kill(w);
	}
}

static void log_death(const struct worker_process *w, int wait_status)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "worker-died");
	kv_u64(&kv, "worker", w->index);
	kv_i64(&kv, "pid", w->pid);
	if (WIFSIGNALED(wait_status))
		kv_text(&kv, "signal", strsignal(WTERMSIG(wait_status)));
	else
		kv_i64(&kv, "exit", WEXITSTATUS(wait_status));
	if (w->failure.text[0])
		kv_text(&kv, "why", w->failure.text);
	kv_u64(&kv, "sessions_lost", w->counters->values[COUNTER_SESSIONS]);
	kv_u64(&kv, "restart_ms", w->backoff_ms);
	log_kv(LOG_LEVEL_ERR, &kv);
}

bool worker_process_died(struct worker_process *w, pid_t pid, int wait_status)
{
	if (w->pid != pid || pid <= 0)
		return false;
	bool clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
	if (loop_now_ms(w->loop) - w->started_ms > LONG_LIFE_MS)
		w->backoff_ms = BACKOFF_MIN_MS;
	if (!(clean && w->is_draining))
		log_death(w, wait_status);
	w->pid = 0;
	ipc_channel_destroy(&w->channel);
	counters_clear_gauges(w->counters);
	if (w->is_draining) {
		set_state(w, WORKER_ENDED);
		w->events.ended(w->events.ctx, w);
	} else if (!w->was_ready) {
		set_state(w, WORKER_ENDED);
		if (!w->failure.text[0])
			reason_set(&w->failure, 0, "worker %u died at its start", w->index);
		w->events.start_failed(w->events.ctx, w, &w->failure);
	} else {
		start_later(w);
	}
	return true;
}

int worker_process_send(struct worker_process *w, enum role_message type, const void *payload, size_t len, int fd)
{
	if (!w->channel)
		return ERR_EOF;
	int err = ipc_channel_send(w->channel, type, payload, len, &fd, fd >= 0 ? 1 : 0);
	if (err && type == ROLE_CONF)
		w->needs_rules_again = true;
	if (err && err != ERR_EOF)
		log_event(LOG_LEVEL_ERR, "worker-hangs", "worker %u does not take messages (%s)", w->index, err_name(err));
	return err;
}

bool worker_process_is_behind(const struct worker_process *w)
{
	return w->channel && ipc_channel_is_behind(w->channel);
}

void worker_process_send_rules(struct worker_process *w)
{
	int err = w->channel ? send_rules(w) : 0;
	if (err && err != ERR_EOF)
		log_event(LOG_LEVEL_ERR, "worker-hangs", "worker %u does not take its rules (%s)", w->index, err_name(err));
}

bool worker_process_has_rules(const struct worker_process *w)
{
	return w->rules_taken == w->supply->rules_generation && !w->needs_rules_again;
}

void worker_process_drain(struct worker_process *w)
{
	w->is_draining = true;
	loop_timer_stop(w->restart_timer);
	if (w->pid > 0) {
		(void)worker_process_send(w, ROLE_DRAIN, NULL, 0, -1);
	} else if (w->state != WORKER_ENDED) {
		set_state(w, WORKER_ENDED);
		w->events.ended(w->events.ctx, w);
	}
}

void worker_process_kill(struct worker_process *w)
{
	if (w->pid > 0)
		(void)kill(w->pid, SIGKILL);
}

static void send_rules_again(struct worker_process *w)
{
	const struct role_conf *conf = &w->supply->setup.conf;
	if (!w->needs_rules_again || w->state != WORKER_RUNNING || w->is_draining)
		return;
	w->needs_rules_again = false;
	/* In front of the rules as at first: it may not have arrived either. */
	if (worker_process_send(w, ROLE_CONF, conf, sizeof *conf, -1) == 0)
		worker_process_send_rules(w);
}

void worker_process_watch(struct worker_process *w)
{
	send_rules_again(w);
	uint64_t heartbeats = counter_heartbeats(w->counters);
	if (w->pid <= 0 || heartbeats != w->heartbeats) {
		w->heartbeats = heartbeats;
		w->still = 0;
	} else if (++w->still == WORKER_WATCH_LIMIT) {
		log_event(LOG_LEVEL_ERR, "worker-stuck", "worker %u (pid %ld) has done nothing for %u s: aborted", w->index, (long)w->pid,
			  WORKER_WATCH_LIMIT * WORKER_WATCH_MS / 1000);
		(void)kill(w->pid, SIGABRT);
	} else if (w->still > WORKER_WATCH_LIMIT) {
		worker_process_kill(w);
	}
}

int worker_process_create(struct loop *loop, uint32_t index, const struct worker_supply *supply, struct counter_slot *counters,
			  const struct worker_process_events *events, struct worker_process **out)
{
	struct worker_process *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->loop = loop;
	w->index = index;
	w->supply = supply;
	w->counters = counters;
	w->events = *events;
	w->backoff_ms = BACKOFF_MIN_MS;
	int err = loop_timer_create(loop, restart_due, w, &w->restart_timer);
	if (err) {
		free(w);
		return err;
	}
	*out = w;
	return 0;
}

void worker_process_destroy(struct worker_process **worker)
{
	struct worker_process *w = *worker;
	if (!w)
		return;
	worker_process_kill(w);
	ipc_channel_destroy(&w->channel);
	loop_timer_destroy(&w->restart_timer);
	free(w);
	*worker = NULL;
}

uint32_t worker_process_index(const struct worker_process *w)
{
	return w->index;
}

uint32_t worker_process_generation(const struct worker_process *w)
{
	return w->generation;
}

enum worker_state worker_process_state(const struct worker_process *w)
{
	return w->state;
}

pid_t worker_process_pid(const struct worker_process *w)
{
	return w->pid;
}

uint64_t worker_process_restarts(const struct worker_process *w)
{
	return w->restarts;
}
