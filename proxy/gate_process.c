#include "gate_process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "role_exec.h"
#include "set_questions.h"
#include "sets_file.h"

#define BACKOFF_MIN_MS 200u
#define BACKOFF_MAX_MS 30000u
#define LONG_LIFE_MS 60000u
/* Beats without a sign of life of any worker, and of the gate.  A worker's heart beats once a second.  A gate that hangs holds SYNs until
 * `dead-after` takes their rule away, and from then on nobody is diverted: so it is killed before the fourth repetition of a SYN, 15 s after
 * the first; not so soon that a busy host could be taken for a gate that hangs.  At its start it reads the kernel's sets. */
#define WORKERS_STILL_LIMIT 4u
#define GATE_STILL_LIMIT 10u
#define GATE_STARTING_LIMIT 60u
#define RULES_AGAIN_BEATS 30u

struct gate_process {
	struct loop *loop;
	struct gate_process_parts parts;
	enum worker_state state;
	pid_t pid;
	struct ipc_channel *channel;
	struct loop_timer *restart_timer, *beat_timer;
	uint64_t backoff_ms, started_ms, restarts;
	uint64_t heartbeats;         /* of all workers, at the last beat */
	bool has_said_alive;         /* at the last beat */
	unsigned workers_still, still, beats_since_rules;
	bool is_closed, is_ending;
	bool has_status, has_told_switches;
	bool is_destroyed; /* while a file is written: the job's end frees */
	struct gate_status status;
	struct reason failure;
	struct set_questions questions;

	/* what the gate wants to be kept */
	int kept_fd, next_fd; /* being written, and to be written then; -1: none */
	struct reason kept_why;
	int kept_err;
};

static void set_state(struct gate_process *g, enum worker_state state)
{
	log_event(LOG_LEVEL_DEBUG, "gate-state", "%s -> %s", worker_state_name(g->state), worker_state_name(state));
	g->state = state;
}

static void start_later(struct gate_process *g)
{
	set_state(g, WORKER_WAITING);
	g->restarts++;
	loop_timer_start(g->restart_timer, g->backoff_ms);
	g->backoff_ms = g->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : g->backoff_ms * 2;
}

static void restart_due(void *ctx)
{
	gate_process_start(ctx);
}

static void end_now(struct gate_process *g)
{
	/* Else when that is on the disk. */
	if (g->kept_fd >= 0)
		return;
	set_state(g, WORKER_ENDED);
	g->parts.ended(g->parts.ctx);
}

/* ---- what it is told */

static int send_to(struct gate_process *g, enum gate_message type, const void *payload, size_t len)
{
	return g->channel ? ipc_channel_send(g->channel, type, payload, len, NULL, 0) : ERR_EOF;
}

static bool workers_accept(struct gate_process *g)
{
	uint64_t heartbeats = 0;
	bool is_any_running = false;
	for (size_t i = 0; i < g->parts.crew->count; i++) {
		if (worker_process_state(g->parts.crew->workers[i]) != WORKER_RUNNING)
			continue;
		is_any_running = true;
		heartbeats += counter_heartbeats(&g->parts.counters->slots[i]);
	}
	g->workers_still = heartbeats == g->heartbeats ? g->workers_still + 1 : 0;
	g->heartbeats = heartbeats;
	return is_any_running && !g->is_closed && g->workers_still < WORKERS_STILL_LIMIT;
}

static void send_beat(struct gate_process *g)
{
	struct gate_beat beat = { { 0 } };
	bool accept = workers_accept(g);
	g->has_said_alive = accept;
	/* Every worker has every listener. */
	for (size_t i = 0; i < g->parts.supply->setup.conf.conf.listen_count; i++)
		beat.accepts[i] = accept;
	/* One that does not take what it is sent gets no more of it, and stays silent, too. */
	if (g->channel && !ipc_channel_is_behind(g->channel))
		(void)send_to(g, GATE_BEAT, &beat, sizeof beat);
}

/* Not a matter of life and death: what the gate does not know the sessions do.  It is sent again when the gate does not say that it has them. */
static void send_rules(struct gate_process *g)
{
	const struct worker_supply *supply = g->parts.supply;
	const struct role_rules what = { supply->rules_generation };
	const int fds[] = { supply->rules_fd, supply->hits_fd };
	if (g->channel && !ipc_channel_is_behind(g->channel))
		(void)ipc_channel_send(g->channel, GATE_RULES, &what, sizeof what, fds, 2);
	g->beats_since_rules = 0;
}

static void look_after_rules(struct gate_process *g)
{
	if (++g->beats_since_rules >= RULES_AGAIN_BEATS && g->has_status && g->status.has_queue &&
	    g->status.rules_generation != g->parts.supply->rules_generation)
		send_rules(g);
}

/* ---- what it keeps */

static void write_kept(void *ctx)
{
	struct gate_process *g = ctx;
	g->kept_err = sets_file_write(g->parts.spool_fd, g->kept_fd, &g->kept_why);
}

static void start_writing(struct gate_process *g);

static void kept_written(void *ctx)
{
	struct gate_process *g = ctx;
	(void)close(g->kept_fd);
	g->kept_fd = -1;
	if (g->kept_err)
		log_event(LOG_LEVEL_ERR, "sets-not-kept", "%s", g->kept_why.text);
	if (g->is_destroyed) {
		free(g);
		return;
	}
	start_writing(g);
	if (g->is_ending && g->pid == 0 && g->state != WORKER_ENDED)
		end_now(g);
}

static void start_writing(struct gate_process *g)
{
	if (g->kept_fd >= 0 || g->next_fd < 0)
		return;
	g->kept_fd = g->next_fd;
	g->next_fd = -1;
	if (loop_job_start(g->loop, write_kept, kept_written, g) == 0)
		return;
	log_event(LOG_LEVEL_ERR, "sets-not-kept", "no job can be started");
	(void)close(g->kept_fd);
	g->kept_fd = -1;
}

static void take_kept(struct gate_process *g, struct ipc_message *msg)
{
	if (g->next_fd >= 0)
		(void)close(g->next_fd);
	g->next_fd = msg->fds[0];
	msg->fds[0] = -1;
	start_writing(g);
}

/* ---- the channel */

static void channel_closed(void *ctx, int err)
{
	struct gate_process *g = ctx;
	(void)err;
	ipc_channel_destroy(&g->channel);
	if (g->pid > 0 && !g->is_ending)
		(void)kill(g->pid, SIGKILL);
}

/* What happens when we are dead: said once it is known, and when it becomes another. */
static void take_status(struct gate_process *g, const struct ipc_message *msg)
{
	const struct conf *conf = &g->parts.supply->setup.conf.conf;
	struct gate_status new;
	memcpy(&new, msg->payload, sizeof new);
	for (size_t i = 0; i < conf->listen_count; i++) {
		const struct gate_switch *was = &g->status.switches[i], *is = &new.switches[i];
		struct kv kv;
		bool is_same = g->has_told_switches && was->is_armed == is->is_armed && was->is_closed == is->is_closed;
		if (is_same || conf->listen[i].mode == LISTEN_DIRECT)
			continue;
		kv_init(&kv);
		kv_text(&kv, "ev", "when-dead");
		kv_text(&kv, "interface", conf->listen[i].iface);
		kv_text(&kv, "fail", is->is_armed && !is->is_closed ? "open" : "closed");
		kv_text(&kv, "switch", is->is_armed ? "armed" : "none");
		log_kv(LOG_LEVEL_INFO, &kv);
	}
	g->status = new;
	g->has_status = g->has_told_switches = true;
	g->still = 0;
}

static void take_failed(struct gate_process *g, const struct ipc_message *msg)
{
	struct role_failed failed;
	memcpy(&failed, msg->payload, sizeof failed);
	failed.why.text[sizeof failed.why.text - 1] = '\0';
	reason_set(&g->failure, 0, "%s", failed.why.text);
}

static void channel_message(void *ctx, struct ipc_message *msg)
{
	struct gate_process *g = ctx;
	struct gate_answer answer;
	switch (msg->type) {
	case GATE_READY:
		if (g->state != WORKER_STARTING)
			break;
		set_state(g, WORKER_RUNNING);
		log_event(LOG_LEVEL_INFO, "gate-ready", "the gate runs with pid %ld", (long)g->pid);
		send_beat(g);
		return;
	case GATE_FAILED:
		if (msg->len != sizeof(struct role_failed))
			break;
		take_failed(g, msg);
		return;
	case GATE_STATUS:
		if (msg->len != sizeof g->status)
			break;
		take_status(g, msg);
		return;
	case GATE_KEEP:
		if (msg->fd_count != 1)
			break;
		take_kept(g, msg);
		return;
	case GATE_ANSWER:
		if (msg->len != sizeof answer || msg->fd_count > 1)
			break;
		memcpy(&answer, msg->payload, sizeof answer);
		set_questions_answer(&g->questions, &answer, msg->fd_count ? msg->fds[0] : -1);
		msg->fds[0] = -1;
		return;
	default:
		break;
	}
	log_event(LOG_LEVEL_ERR, "gate-protocol", "the gate sent a message of type %u with %zu bytes that makes no sense: killed", msg->type,
		  msg->len);
	if (g->pid > 0)
		(void)kill(g->pid, SIGKILL);
}

/* ---- each second */

static void beat_due(void *ctx)
{
	struct gate_process *g = ctx;
	loop_timer_start(g->beat_timer, GATE_BEAT_MS);
	send_beat(g);
	look_after_rules(g);
	const unsigned limit = g->state == WORKER_RUNNING ? GATE_STILL_LIMIT : GATE_STARTING_LIMIT;
	if (g->pid > 0 && ++g->still == limit) {
		log_event(LOG_LEVEL_ERR, "gate-stuck", "the gate (pid %ld) has said nothing for %u s: killed", (long)g->pid, limit * GATE_BEAT_MS / 1000);
		(void)kill(g->pid, SIGKILL);
	}
}

/* ---- life */

static int feed(struct gate_process *g)
{
	const struct worker_supply *supply = g->parts.supply;
	struct gate_setup setup = { .user = g->parts.user, .workers = g->parts.crew->count, .log_form = supply->setup.log_form, .conf = supply->setup.conf };
	const int fds[] = { supply->chroot_fd, sets_file_open(g->parts.spool_fd) };
	int err = ipc_channel_send(g->channel, GATE_SETUP, &setup, sizeof setup, fds, fds[1] >= 0 ? 2 : 1);
	if (fds[1] >= 0)
		(void)close(fds[1]);
	if (!err)
		send_rules(g);
	return err;
}

void gate_process_start(struct gate_process *g)
{
	int fds[2];
	if (g->is_ending)
		return;
	g->failure.text[0] = '\0';
	int err = ipc_pair(fds);
	pid_t pid = err ? -1 : fork();
	if (pid == 0)
		role_exec(fds[1], "posternd: gate", GATE_ROLE_ARG);
	if (pid < 0) {
		/* With too many open files, or without memory: err does not tell these apart. */
		log_event(LOG_LEVEL_ERR, "gate-start-failed", "%s: %s", err ? "no socket pair" : "fork", strerror(errno));
		if (!err) {
			(void)close(fds[0]);
			(void)close(fds[1]);
		}
		start_later(g);
		return;
	}
	(void)close(fds[1]);
	g->pid = pid;
	g->started_ms = loop_now_ms(g->loop);
	g->still = 0;
	g->has_status = false;
	set_state(g, WORKER_STARTING);
	loop_timer_start(g->beat_timer, GATE_BEAT_MS);
	err = ipc_channel_create(g->loop, fds[0], channel_message, channel_closed, g, &g->channel);
	if (err)
		(void)close(fds[0]);
	else
		err = feed(g);
	if (err) {
		log_event(LOG_LEVEL_ERR, "gate-start-failed", "the gate cannot be fed (%s)", err_name(err));
		(void)kill(pid, SIGKILL);
	}
}

static void log_death(const struct gate_process *g, int wait_status)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "gate-died");
	kv_i64(&kv, "pid", g->pid);
	if (WIFSIGNALED(wait_status))
		kv_text(&kv, "signal", strsignal(WTERMSIG(wait_status)));
	else
		kv_i64(&kv, "exit", WEXITSTATUS(wait_status));
	if (g->failure.text[0])
		kv_text(&kv, "why", g->failure.text);
	kv_u64(&kv, "restart_ms", g->backoff_ms);
	log_kv(LOG_LEVEL_ERR, &kv);
}

bool gate_process_died(struct gate_process *g, pid_t pid, int wait_status)
{
	if (!g || g->pid != pid || pid <= 0)
		return false;
	if (loop_now_ms(g->loop) - g->started_ms > LONG_LIFE_MS)
		g->backoff_ms = BACKOFF_MIN_MS;
	bool is_clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
	if (!(is_clean && g->is_ending))
		log_death(g, wait_status);
	g->pid = 0;
	g->has_status = false;
	ipc_channel_destroy(&g->channel);
	set_questions_fail(&g->questions, "the gate has just died; try again");
	if (g->is_ending)
		end_now(g);
	else
		start_later(g);
	return true;
}

void gate_process_reload(struct gate_process *g)
{
	const struct role_conf *conf = &g->parts.supply->setup.conf;
	(void)send_to(g, GATE_CONF, conf, sizeof *conf);
	send_rules(g);
}

void gate_process_worker_ready(struct gate_process *g)
{
	if (g->state == WORKER_RUNNING && !g->has_said_alive)
		send_beat(g);
}

void gate_process_close(struct gate_process *g)
{
	g->is_closed = true;
	send_beat(g);
}

void gate_process_end(struct gate_process *g)
{
	if (g->is_ending)
		return;
	g->is_ending = true;
	loop_timer_stop(g->restart_timer);
	if (g->pid > 0 && send_to(g, GATE_END, NULL, 0) == 0)
		return;
	if (g->pid > 0)
		(void)kill(g->pid, SIGKILL);
	else
		end_now(g);
}

void gate_process_ask(struct gate_process *g, struct control_client *client, struct span request)
{
	struct gate_question question;
	if (g->state != WORKER_RUNNING) {
		control_end(client, ERR_EOF, "the gate does not run: see the log");
		return;
	}
	int err = set_questions_begin(&g->questions, client, request, &question);
	if (err)
		control_end(client, err, err == ERR_BUSY ? "too many questions at once; try again" : "the question is too long");
	else if (send_to(g, GATE_ASK, &question, sizeof question) != 0)
		set_questions_fail(&g->questions, "the gate does not take questions; try again");
}

void gate_process_client(struct gate_process *g, const struct gate_client *client)
{
	if (g->state == WORKER_RUNNING && g->channel && !ipc_channel_is_behind(g->channel))
		(void)send_to(g, GATE_CLIENT, client, sizeof *client);
}

void gate_process_list_report(struct gate_process *g, const struct gate_list_report *report)
{
	/* Without a queue it judges no SYN. */
	if (g->has_status && g->status.has_queue && g->channel && !ipc_channel_is_behind(g->channel))
		(void)send_to(g, GATE_LIST_REPORT, report, sizeof *report);
}

const struct gate_status *gate_process_status(const struct gate_process *g)
{
	return g->has_status ? &g->status : NULL;
}

enum worker_state gate_process_state(const struct gate_process *g)
{
	return g->state;
}

pid_t gate_process_pid(const struct gate_process *g)
{
	return g->pid;
}

uint64_t gate_process_restarts(const struct gate_process *g)
{
	return g->restarts;
}

int gate_process_create(struct loop *loop, const struct gate_process_parts *parts, struct gate_process **out)
{
	struct gate_process *g = calloc(1, sizeof *g);
	if (!g)
		return ERR_NOMEM;
	g->loop = loop;
	g->parts = *parts;
	g->backoff_ms = BACKOFF_MIN_MS;
	g->kept_fd = g->next_fd = -1;
	int err = loop_timer_create(loop, restart_due, g, &g->restart_timer);
	if (!err)
		err = loop_timer_create(loop, beat_due, g, &g->beat_timer);
	if (err) {
		gate_process_destroy(&g);
		return err;
	}
	*out = g;
	return 0;
}

void gate_process_destroy(struct gate_process **gate)
{
	struct gate_process *g = *gate;
	if (!g)
		return;
	if (g->pid > 0)
		(void)kill(g->pid, SIGKILL);
	ipc_channel_destroy(&g->channel);
	loop_timer_destroy(&g->restart_timer);
	loop_timer_destroy(&g->beat_timer);
	set_questions_fail(&g->questions, "the daemon ends");
	if (g->next_fd >= 0)
		(void)close(g->next_fd);
	g->next_fd = -1;
	*gate = NULL;
	g->is_destroyed = true;
	if (g->kept_fd < 0)
		free(g);
}
