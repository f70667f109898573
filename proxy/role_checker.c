#include "role_checker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_children.h"
#include "check_place.h"
#include "checker_messages.h"
#include "ipc.h"
#include "log.h"
#include "priv.h"
#include "role_messages.h"

#define SETUP_TIMEOUT_MS 10000

struct role;

struct link {
	struct role *role;
	uint32_t worker;
	struct ipc_channel *channel; /* NULL: none */
};

struct role {
	struct checker_setup setup;
	int chroot_fd, place_fd, children_fd;
	struct loop *loop;
	struct loop_timer *alive_timer;
	struct ipc_channel *master; /* NULL: gone */
	struct link links[CHECKER_OWNERS_MAX];
	struct checker *checker;
};

/* ---- receive */

static int take_options(struct checker_options *options)
{
	options->command[sizeof options->command - 1] = '\0';
	options->dir[sizeof options->dir - 1] = '\0';
	return options->command[0] == '/' && options->jobs >= 1 && options->jobs <= CHECKER_JOBS_MAX && options->timeout_ms > 0 ? 0 : ERR_PROTO;
}

static int receive_prepriv(struct role *r, struct reason *why)
{
	struct ipc_message msg;
	int err = ipc_receive_wait(ROLE_CONTROL_FD, SETUP_TIMEOUT_MS, &msg);
	if (err)
		return reason_set(why, err, "the checker: no setup from the master (%s)", err_name(err));
	if (msg.type == CHECKER_SETUP && msg.len == sizeof r->setup && msg.fd_count == 1) {
		memcpy(&r->setup, msg.payload, sizeof r->setup);
		r->chroot_fd = msg.fds[0];
		msg.fds[0] = -1;
		err = take_options(&r->setup.options);
	} else {
		err = ERR_PROTO;
	}
	ipc_message_drop(&msg);
	if (err)
		return reason_set(why, err, "the checker: a setup that makes no sense");
	log_setup("posternd/check", (enum log_form)r->setup.log_form, (enum log_level)r->setup.log_level);
	r->children_fd = check_children_open_prepriv();
	check_place_make_prepriv(r->chroot_fd, r->setup.options.dir, r->setup.user.uid, r->setup.user.gid);
	return 0;
}

/* ---- drop and restrict */

/* A script whose interpreter is not in the chroot passes here, and fails when it is run. */
static int look_at_command(const struct checker_options *options, struct reason *why)
{
	char program[CONF_COMMAND_CAP];
	struct stat st;
	(void)snprintf(program, sizeof program, "%.*s", (int)strcspn(options->command, " \t"), options->command);
	if (stat(program, &st) != 0)
		return reason_set(why, err_from_errno(errno), "check-command: %s: %s (seen from check-chroot)", program, strerror(errno));
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, program, X_OK, AT_EACCESS) != 0)
		return reason_set(why, ERR_PERM, "check-command: %s: no program that uid %u may run", program, (unsigned)geteuid());
	return 0;
}

static int drop(struct role *r, struct reason *why)
{
	struct priv_plan plan = { .user = r->setup.user, .has_chroot = true, .chroot_fd = r->chroot_fd };
	int err = priv_drop(&plan, why);
	if (!err && (err = check_place_open(r->setup.options.dir, &r->place_fd, why)) != 0)
		reason_prefix(why, err, "check-dir (seen from check-chroot)");
	if (!err)
		err = look_at_command(&r->setup.options, why);
	if (!err)
		err = priv_restrict_programs(why);
	if (!err)
		check_place_sweep(r->place_fd);
	return err;
}

/* ---- run */

static void end_if_done(void *ctx)
{
	struct role *r = ctx;
	bool is_linked = false;
	if (r->master || !checker_is_idle(r->checker))
		return;
	for (size_t i = 0; i < CHECKER_OWNERS_MAX; i++)
		is_linked = is_linked || r->links[i].channel;
	if (!is_linked)
		loop_stop(r->loop);
}

static void unlink_worker(struct link *link)
{
	ipc_channel_destroy(&link->channel);
	checker_forget(link->role->checker, link->worker);
	end_if_done(link->role);
}

static void worker_gone(void *ctx, int err)
{
	(void)err;
	unlink_worker(ctx);
}

static void from_worker(void *ctx, struct ipc_message *msg)
{
	struct link *link = ctx;
	struct role *r = link->role;
	struct checker_question question;
	struct checker_cancelled cancelled;
	if (msg->type == CHECKER_ASK && msg->len == sizeof question) {
		memcpy(&question, msg->payload, sizeof question);
		/* Without its descriptors, for lack of them here, only this question fails. */
		int wire_fd = ipc_message_take_fd(msg, 0), args_fd = ipc_message_take_fd(msg, 1);
		checker_ask(r->checker, link->worker, question.ticket, question.wire_len, wire_fd, args_fd);
	} else if (msg->type == CHECKER_CANCEL && msg->len == sizeof cancelled) {
		memcpy(&cancelled, msg->payload, sizeof cancelled);
		checker_cancel(r->checker, link->worker, cancelled.ticket);
	} else {
		log_event(LOG_LEVEL_ERR, "worker-protocol", "worker %u asks the checker what makes no sense: not listened to any more", link->worker);
		unlink_worker(link);
	}
}

static void answered(void *ctx, uint32_t owner, const struct checker_answer *answer, int changed_fd)
{
	struct role *r = ctx;
	struct ipc_channel *channel = r->links[owner].channel;
	/* A worker that takes no answers has a deadline of its own. */
	if (channel)
		(void)ipc_channel_send(channel, CHECKER_ANSWER, answer, sizeof *answer, &changed_fd, changed_fd >= 0 ? 1 : 0);
	if (changed_fd >= 0)
		(void)close(changed_fd);
}

static void take_link(struct role *r, struct ipc_message *msg)
{
	struct checker_link_to to;
	if (msg->len != sizeof to || msg->fd_count != 1)
		return;
	memcpy(&to, msg->payload, sizeof to);
	if (to.worker >= CHECKER_OWNERS_MAX)
		return;
	struct link *link = &r->links[to.worker];
	ipc_channel_destroy(&link->channel);
	checker_forget(r->checker, to.worker);
	if (ipc_channel_create(r->loop, msg->fds[0], from_worker, worker_gone, link, &link->channel) == 0)
		msg->fds[0] = -1;
}

static void take_new_options(struct role *r, const struct ipc_message *msg)
{
	struct checker_options options;
	struct reason why;
	if (msg->len != sizeof options)
		return;
	memcpy(&options, msg->payload, sizeof options);
	if (take_options(&options) != 0)
		return;
	r->setup.options = options;
	checker_set_options(r->checker, &options);
	if (look_at_command(&options, &why) != 0)
		log_event(LOG_LEVEL_ERR, "extcheck-trouble", "%s; until it is there, messages that need it get 451", why.text);
}

static void from_master(void *ctx, struct ipc_message *msg)
{
	struct role *r = ctx;
	if (msg->type == CHECKER_LINK)
		take_link(r, msg);
	else if (msg->type == CHECKER_OPTIONS)
		take_new_options(r, msg);
}

/* Workers finish what is under way, and may need us for it. */
static void master_gone(void *ctx, int err)
{
	struct role *r = ctx;
	(void)err;
	ipc_channel_destroy(&r->master);
	end_if_done(r);
}

static void say_alive(void *ctx)
{
	struct role *r = ctx;
	loop_timer_start(r->alive_timer, CHECKER_ALIVE_MS);
	if (r->master && !ipc_channel_is_behind(r->master))
		(void)ipc_channel_send(r->master, CHECKER_ALIVE, NULL, 0, NULL, 0);
}

static int build(struct role *r, struct reason *why)
{
	/* The commands have no business with it. */
	(void)fcntl(ROLE_CONTROL_FD, F_SETFD, FD_CLOEXEC);
	for (uint32_t i = 0; i < CHECKER_OWNERS_MAX; i++)
		r->links[i] = (struct link){ .role = r, .worker = i };
	int err = loop_create(&r->loop);
	if (!err)
		err = checker_create(r->loop, r->place_fd, r->children_fd, &r->setup.options, answered, end_if_done, r, &r->checker);
	if (!err)
		err = ipc_channel_create(r->loop, ROLE_CONTROL_FD, from_master, master_gone, r, &r->master);
	if (!err)
		err = loop_timer_create(r->loop, say_alive, r, &r->alive_timer);
	if (err)
		return reason_set(why, err, "the checker's event loop cannot be set up (%s)", err_name(err));
	say_alive(r);
	return ipc_channel_send(r->master, CHECKER_READY, NULL, 0, NULL, 0);
}

static void take_down(struct role *r)
{
	for (size_t i = 0; i < CHECKER_OWNERS_MAX; i++)
		ipc_channel_destroy(&r->links[i].channel);
	ipc_channel_destroy(&r->master);
	loop_timer_destroy(&r->alive_timer);
	checker_destroy(&r->checker);
	loop_destroy(&r->loop);
}

int role_checker_run(void)
{
	static struct role r = { .chroot_fd = -1, .place_fd = -1, .children_fd = -1 };
	struct role_failed failed = { .why = { "" } };
	priv_start_process();
	(void)prctl(PR_SET_NAME, "postern-check", 0, 0, 0);
	/* Whoever signals the whole group means the master. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
	int err = receive_prepriv(&r, &failed.why);
	if (!err)
		err = drop(&r, &failed.why);
	if (!err)
		err = build(&r, &failed.why);
	if (err) {
		(void)ipc_send(ROLE_CONTROL_FD, CHECKER_START_FAILED, &failed, sizeof failed, NULL, 0);
		return 1;
	}
	loop_run(r.loop);
	take_down(&r);
	return 0;
}
