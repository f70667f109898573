#include "checker_process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checker_messages.h"
#include "log.h"
#include "role_exec.h"

#define BACKOFF_MIN_MS 200u
#define BACKOFF_MAX_MS 30000u
#define LONG_LIFE_MS 60000u

struct checker_process {
	struct loop *loop;
	struct worker_crew *crew;
	struct checker_process_events events;
	struct checker_setup setup;
	int chroot_fd;
	enum worker_state state;
	pid_t pid;
	struct ipc_channel *channel;
	struct loop_timer *restart_timer;
	uint64_t backoff_ms, started_ms, restarts;
	bool needs_link[CHECKER_OWNERS_MAX]; /* workers without a channel */
	unsigned still; /* looks since it last said that it lives */
	bool was_ready; /* once, ever: before that a death is a failed start */
	struct reason failure; /* what the dying checker said */
};

static void set_state(struct checker_process *p, enum worker_state state)
{
	log_event(LOG_LEVEL_DEBUG, "checker-state", "%s -> %s", worker_state_name(p->state), worker_state_name(state));
	p->state = state;
}

static void kill_it(struct checker_process *p)
{
	if (p->pid > 0)
		(void)kill(p->pid, SIGKILL);
}

static void start_later(struct checker_process *p)
{
	set_state(p, WORKER_WAITING);
	p->restarts++;
	loop_timer_start(p->restart_timer, p->backoff_ms);
	p->backoff_ms = p->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : p->backoff_ms * 2;
}

static void channel_closed(void *ctx, int err)
{
	struct checker_process *p = ctx;
	(void)err;
	ipc_channel_destroy(&p->channel);
	/* What it means by it shows when it is waited for; if it lives on without a channel it is of no use. */
	kill_it(p);
}

/* ---- channels between it and the workers */

void checker_process_link(struct checker_process *p, struct worker_process *worker)
{
	const struct checker_link_to to = { worker_process_index(worker) };
	int fds[2];
	if (!p || !p->channel || p->state != WORKER_RUNNING || worker_process_state(worker) != WORKER_RUNNING || to.worker >= CHECKER_OWNERS_MAX)
		return;
	p->needs_link[to.worker] = false;
	int err = ipc_pair(fds);
	if (!err) {
		err = ipc_channel_send(p->channel, CHECKER_LINK, &to, sizeof to, &fds[0], 1);
		if (!err)
			err = worker_process_send(worker, ROLE_CHECKER, NULL, 0, fds[1]);
		(void)close(fds[0]);
		(void)close(fds[1]);
	}
	/* ERR_EOF: it has died, and the next one is joined to everybody. */
	if (!err || err == ERR_EOF)
		return;
	p->needs_link[to.worker] = true;
	log_event(LOG_LEVEL_ERR, "checker-link", "worker %u gets no channel to the checker (%s)", to.worker, err_name(err));
}

void checker_process_lost(struct checker_process *p, struct worker_process *worker)
{
	if (p && worker_process_index(worker) < CHECKER_OWNERS_MAX)
		p->needs_link[worker_process_index(worker)] = true;
}

static void is_ready(struct checker_process *p)
{
	set_state(p, WORKER_RUNNING);
	p->was_ready = true;
	log_event(LOG_LEVEL_INFO, "checker-ready", "the checker runs with pid %ld", (long)p->pid);
	for (size_t i = 0; i < p->crew->count; i++)
		checker_process_link(p, p->crew->workers[i]);
	p->events.ready(p->events.ctx);
}

static void channel_message(void *ctx, struct ipc_message *msg)
{
	struct checker_process *p = ctx;
	struct role_failed failed;
	if (msg->type == CHECKER_ALIVE) {
		p->still = 0;
	} else if (msg->type == CHECKER_READY && p->state == WORKER_STARTING) {
		is_ready(p);
	} else if (msg->type == CHECKER_START_FAILED && msg->len == sizeof failed) {
		memcpy(&failed, msg->payload, sizeof failed);
		failed.why.text[sizeof failed.why.text - 1] = '\0';
		reason_set(&p->failure, 0, "%s", failed.why.text);
	} else {
		log_event(LOG_LEVEL_ERR, "checker-protocol", "the checker sent a message of type %u with %zu bytes that makes no sense: killed", msg->type,
			  msg->len);
		kill_it(p);
	}
}

/* ---- its life */

static int spawn(struct checker_process *p)
{
	int fds[2];
	int err = ipc_pair(fds);
	if (err)
		return err;
	pid_t pid = fork();
	if (pid == 0)
		role_exec(fds[1], "posternd: checker", CHECKER_ROLE_ARG);
	err = pid < 0 ? err_from_errno(errno) : 0;
	(void)close(fds[1]);
	if (!err) {
		p->pid = pid;
		err = ipc_channel_create(p->loop, fds[0], channel_message, channel_closed, p, &p->channel);
	}
	if (!p->channel)
		(void)close(fds[0]);
	return err;
}

static void start(void *ctx)
{
	struct checker_process *p = ctx;
	p->failure.text[0] = '\0';
	p->still = 0;
	p->started_ms = loop_now_ms(p->loop);
	int err = spawn(p);
	if (!err) {
		set_state(p, WORKER_STARTING);
		err = ipc_channel_send(p->channel, CHECKER_SETUP, &p->setup, sizeof p->setup, &p->chroot_fd, 1);
	}
	if (!err)
		return;
	log_event(LOG_LEVEL_ERR, "checker-start-failed", "the checker can't be started (%s)", err_name(err));
	if (p->pid > 0)
		kill_it(p); /* its death brings the next start */
	else
		start_later(p);
}

void checker_process_start(struct checker_process *p)
{
	if (p)
		start(p);
}

static void log_death(const struct checker_process *p, int wait_status)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "checker-died");
	kv_i64(&kv, "pid", p->pid);
	if (WIFSIGNALED(wait_status))
		kv_text(&kv, "signal", strsignal(WTERMSIG(wait_status)));
	else
		kv_i64(&kv, "exit", WEXITSTATUS(wait_status));
	if (p->failure.text[0])
		kv_text(&kv, "why", p->failure.text);
	kv_u64(&kv, "restart_ms", p->backoff_ms);
	log_kv(LOG_LEVEL_ERR, &kv);
}

bool checker_process_died(struct checker_process *p, pid_t pid, int wait_status)
{
	if (!p || p->pid != pid || pid <= 0)
		return false;
	if (loop_now_ms(p->loop) - p->started_ms > LONG_LIFE_MS)
		p->backoff_ms = BACKOFF_MIN_MS;
	log_death(p, wait_status);
	p->pid = 0;
	ipc_channel_destroy(&p->channel);
	if (!p->was_ready) {
		set_state(p, WORKER_ENDED);
		if (!p->failure.text[0])
			reason_set(&p->failure, 0, "the checker died at its start");
		p->events.start_failed(p->events.ctx, &p->failure);
	} else {
		start_later(p);
	}
	return true;
}

void checker_process_watch(struct checker_process *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->crew->count && i < CHECKER_OWNERS_MAX; i++)
		if (p->needs_link[i])
			checker_process_link(p, p->crew->workers[i]);
	if (p->pid > 0 && ++p->still == WORKER_WATCH_LIMIT) {
		log_event(LOG_LEVEL_ERR, "checker-stuck", "the checker (pid %ld) has shown no sign of life for %u s: killed", (long)p->pid,
			  WORKER_WATCH_LIMIT * WORKER_WATCH_MS / 1000);
		kill_it(p);
	}
}

/* ---- options */

static void take_options(struct checker_process *p, const struct conf *conf)
{
	struct checker_options *o = &p->setup.options;
	_Static_assert(sizeof o->command == sizeof conf->check_command && sizeof o->dir == sizeof conf->check_dir, "copied whole");
	memcpy(o->command, conf->check_command, sizeof o->command);
	memcpy(o->dir, conf->check_dir, sizeof o->dir);
	o->timeout_ms = conf->check_timeout_s * 1000;
	o->jobs = conf->check_jobs;
	o->max_bytes = conf->max_size_bytes + CHECKER_HEADER_ROOM;
	p->setup.log_level = conf->log_level;
}

void checker_process_set_conf(struct checker_process *p, const struct conf *conf)
{
	if (!p)
		return;
	take_options(p, conf);
	/* One that is just starting reads its setup first, and then this. */
	if (p->channel)
		(void)ipc_channel_send(p->channel, CHECKER_OPTIONS, &p->setup.options, sizeof p->setup.options, NULL, 0);
}

int checker_process_create(struct loop *loop, const struct conf *conf, const struct priv_user *user, int chroot_fd, struct worker_crew *crew,
			   const struct checker_process_events *events, struct checker_process **out)
{
	struct checker_process *p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NOMEM;
	*p = (struct checker_process){ .loop = loop, .crew = crew, .events = *events, .chroot_fd = chroot_fd, .backoff_ms = BACKOFF_MIN_MS };
	p->setup.user = *user;
	p->setup.log_form = log_form();
	take_options(p, conf);
	int err = loop_timer_create(loop, start, p, &p->restart_timer);
	if (err) {
		free(p);
		return err;
	}
	*out = p;
	return 0;
}

bool checker_process_is_in_order(const struct checker_process *p)
{
	return !p || p->state == WORKER_RUNNING;
}

enum worker_state checker_process_state(const struct checker_process *p)
{
	return p ? p->state : WORKER_IDLE;
}

pid_t checker_process_pid(const struct checker_process *p)
{
	return p ? p->pid : 0;
}

uint64_t checker_process_restarts(const struct checker_process *p)
{
	return p ? p->restarts : 0;
}

void checker_process_destroy(struct checker_process **checker)
{
	struct checker_process *p = *checker;
	if (!p)
		return;
	*checker = NULL;
	kill_it(p);
	ipc_channel_destroy(&p->channel);
	loop_timer_destroy(&p->restart_timer);
	(void)close(p->chroot_fd);
	free(p);
}
