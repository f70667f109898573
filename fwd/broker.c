#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "ipc.h"
#include "log.h"
#include "outgoing.h"

#define BROKER_FD 3
#define CHROOT_FD 4

enum { BROKER_ASK = 16, BROKER_ANSWER = 17 };

struct ask_packet {
	uint8_t family;
	uint8_t is_transparent;
};

struct answer_packet {
	int32_t err;
};

/* ---- the process */

/* In the child.  The two come to their places from above them: neither overwrites the other. */
static void become_broker(const struct priv_user *user, int pipe_fd, int chroot_fd)
{
	char uid[16], gid[16], form[4], level[4];
	(void)snprintf(uid, sizeof uid, "%u", (unsigned)user->uid);
	(void)snprintf(gid, sizeof gid, "%u", (unsigned)user->gid);
	(void)snprintf(form, sizeof form, "%d", (int)log_form());
	(void)snprintf(level, sizeof level, "%d", (int)log_level());
	const char *const args[] = { "posternfwd", BROKER_ROLE_ARG, uid, gid, form, level, NULL };
	char *envp[] = { NULL };
	daemon_leave_terminal();
	pipe_fd = fcntl(pipe_fd, F_DUPFD_CLOEXEC, CHROOT_FD + 1);
	chroot_fd = fcntl(chroot_fd, F_DUPFD_CLOEXEC, CHROOT_FD + 1);
	if (dup2(pipe_fd, BROKER_FD) >= 0 && dup2(chroot_fd, CHROOT_FD) >= 0)
		(void)execve("/proc/self/exe", (char *const *)(uintptr_t)args, envp);
	_exit(1);
}

int broker_start_prepriv(const struct priv_user *user, const char *chroot_dir, int *fd_out, struct reason *why)
{
	int fds[2], chroot_fd;
	int err = priv_open_empty_prepriv(chroot_dir, &chroot_fd, why);
	if (err)
		return err;
	if (ipc_pair(fds) != 0) {
		(void)close(chroot_fd);
		return reason_set(why, err_from_errno(errno), "socketpair: %s", strerror(errno));
	}
	pid_t pid = fork();
	if (pid == 0)
		become_broker(user, fds[1], chroot_fd);
	int errnum = errno;
	(void)close(chroot_fd);
	(void)close(fds[1]);
	if (pid < 0) {
		(void)close(fds[0]);
		return reason_set(why, err_from_errno(errnum), "fork: %s", strerror(errnum));
	}
	*fd_out = fds[0];
	return 0;
}

static int give_socket(const struct ipc_message *msg, bool *is_open_out, int *fd_out)
{
	struct ask_packet ask;
	*is_open_out = false;
	if (msg->type != BROKER_ASK || msg->len != sizeof ask)
		return ERR_PROTO;
	memcpy(&ask, msg->payload, sizeof ask);
	if (ask.family != ADDR_V4 && ask.family != ADDR_V6)
		return ERR_PROTO;
	struct reason why;
	int err = outgoing_open((enum addr_family)ask.family, ask.is_transparent != 0, fd_out, &why);
	*is_open_out = err == 0;
	if (err)
		log_event(LOG_LEVEL_ERR, "socket", "%s", why.text);
	return err;
}

int broker_run(int argc, char **argv)
{
	struct reason why;
	struct priv_plan plan = { .has_chroot = true, .chroot_fd = CHROOT_FD, .keep_caps = UINT64_C(1) << CAP_NET_ADMIN };
	if (argc != 6)
		return 2;
	plan.user.uid = (uid_t)strtoul(argv[2], NULL, 10);
	plan.user.gid = (gid_t)strtoul(argv[3], NULL, 10);
	priv_start_process();
	log_setup("posternfwd[sockets]", (enum log_form)atoi(argv[4]), (enum log_level)atoi(argv[5]));
	(void)prctl(PR_SET_NAME, "postern-sockets", 0, 0, 0);
	/* It goes when its pipe closes, after the last connection of the forwarder; a signal to the whole group must not take
	 * it first. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
	if (priv_drop(&plan, &why) != 0) {
		log_event(LOG_LEVEL_ERR, "start", "%s", why.text);
		return 1;
	}
	for (;;) {
		struct ipc_message msg;
		bool is_open;
		int fd = -1;
		int err = ipc_receive_wait(BROKER_FD, -1, &msg);
		if (err)
			return err == ERR_EOF ? 0 : 1;
		struct answer_packet answer = { give_socket(&msg, &is_open, &fd) };
		ipc_message_drop(&msg);
		err = ipc_send(BROKER_FD, BROKER_ANSWER, &answer, sizeof answer, &fd, is_open ? 1 : 0);
		if (is_open)
			(void)close(fd);
		if (err)
			return 1;
	}
}

/* ---- the forwarder's side: answers come in the order of the questions */

struct broker_request {
	struct broker *broker;
	struct broker_request *next;
	broker_done_fn done; /* NULL: cancelled */
	void *ctx;
	uint8_t family;
	bool is_transparent;
};

struct broker {
	struct loop *loop;
	struct ipc_channel *channel; /* NULL: no process */
	struct broker_request *head, **tail;
	struct loop_task local_task; /* answers without the process */
};

static int plain_socket(const struct broker_request *r, int *fd_out)
{
	if (r->is_transparent)
		return ERR_UNSUPPORTED;
	int fd = socket(r->family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_from_errno(errno);
	*fd_out = fd;
	return 0;
}

static void answer_first(struct broker *b, int err, int fd)
{
	struct broker_request *r = b->head;
	b->head = r->next;
	if (!b->head)
		b->tail = &b->head;
	if (r->done)
		r->done(r->ctx, err, fd);
	else if (!err)
		(void)close(fd);
	free(r);
}

/* One a turn: what is asked from inside an answer waits for the next. */
static void answer_locally(void *ctx)
{
	struct broker *b = ctx;
	int fd = -1;
	if (!b->head || b->channel)
		return;
	int err = plain_socket(b->head, &fd);
	answer_first(b, err, fd);
	if (b->head)
		loop_task_post(b->loop, &b->local_task);
}

static void process_answered(void *ctx, struct ipc_message *msg)
{
	struct broker *b = ctx;
	struct answer_packet answer;
	if (msg->type != BROKER_ANSWER || msg->len != sizeof answer || !b->head)
		return;
	memcpy(&answer, msg->payload, sizeof answer);
	int err = answer.err ? answer.err : msg->fd_count == 1 ? 0 : ERR_PROTO;
	int fd = -1;
	if (!err) {
		fd = msg->fds[0];
		msg->fds[0] = -1;
	}
	answer_first(b, err > 0 ? ERR_PROTO : err, fd);
}

static void process_gone(void *ctx, int err)
{
	struct broker *b = ctx;
	log_event(LOG_LEVEL_ERR, "broker-gone",
		  "the process that opens sockets has died (%s): restart posternfwd; until then connections carry no mark, and "
		  "identity = spoof waits",
		  err_name(err));
	ipc_channel_destroy(&b->channel);
	loop_task_post(b->loop, &b->local_task);
}

int broker_create(struct loop *loop, int fd, struct broker **out)
{
	struct broker *b = calloc(1, sizeof *b);
	if (!b)
		return ERR_NOMEM;
	b->loop = loop;
	b->tail = &b->head;
	b->local_task = (struct loop_task){ .fn = answer_locally, .ctx = b };
	int err = fd < 0 ? 0 : ipc_channel_create(loop, fd, process_answered, process_gone, b, &b->channel);
	if (err) {
		free(b);
		return err;
	}
	*out = b;
	return 0;
}

void broker_destroy(struct broker **broker)
{
	struct broker *b = *broker;
	if (!b)
		return;
	ipc_channel_destroy(&b->channel);
	loop_task_cancel(&b->local_task);
	while (b->head) {
		b->head->done = NULL;
		answer_first(b, ERR_EOF, -1);
	}
	free(b);
	*broker = NULL;
}

bool broker_is_alive(const struct broker *broker)
{
	return broker->channel != NULL;
}

int broker_ask(struct broker *broker, enum addr_family family, bool is_transparent, broker_done_fn done, void *ctx,
	       struct broker_request **out)
{
	struct broker_request *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	struct ask_packet ask = { (uint8_t)family, is_transparent };
	int err = broker->channel ? ipc_channel_send(broker->channel, BROKER_ASK, &ask, sizeof ask, NULL, 0) : 0;
	/* ERR_EOF: process_gone is about to run, and then answers this one too. */
	if (err && err != ERR_EOF) {
		free(r);
		return err;
	}
	*r = (struct broker_request){ .broker = broker, .done = done, .ctx = ctx };
	r->family = (uint8_t)family;
	r->is_transparent = is_transparent;
	*broker->tail = r;
	broker->tail = &r->next;
	if (!broker->channel)
		loop_task_post(broker->loop, &broker->local_task);
	*out = r;
	return 0;
}

void broker_cancel(struct broker_request **request)
{
	if (*request)
		(*request)->done = NULL;
	*request = NULL;
}
