/* posternfwd - takes the mail out of the spool and to the next server.
 * Starts as root, opens what needs root, gives root away, then runs.  The order of the start stands in main().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "committed_notice.h"
#include "control.h"
#include "daemon.h"
#include "fault.h"
#include "forwarder.h"
#include "fwd_options.h"
#include "log.h"
#include "priv.h"
#include "route.h"

#define LOCK_TRIES 60 /* three seconds */

/* What is opened while we are root. */
struct start {
	struct fwd_options options;
	struct forwarder_inputs inputs;
	struct priv_user user;
	bool is_root;
	int lock_fd, pid_fd;
	int logger_fd, logger_pid;
	char paths[3][CONF_PATH_CAP + 32];
};

/* While no posternfwd runs, `postern queue delete` and the like have it for a moment: that must not keep us from starting. */
static int take_lock(struct start *s, struct reason *why)
{
	static const struct timespec pause = { 0, 50000000 };
	int err = daemon_pid_file_take(s->paths[0], &s->lock_fd, why);
	for (unsigned tries = 0; err == ERR_BUSY && tries < LOCK_TRIES; tries++) {
		(void)nanosleep(&pause, NULL);
		err = daemon_pid_file_take(s->paths[0], &s->lock_fd, why);
	}
	/* So that this user can take it when it starts without root one day.  Never a file that has another name elsewhere: whoever owns
	 * the spool may have made that. */
	struct stat st;
	if (!err && s->is_root && fstat(s->lock_fd, &st) == 0 && st.st_nlink == 1)
		(void)!fchown(s->lock_fd, s->user.uid, s->user.gid);
	return err;
}

static int prepare_spool(struct start *s, struct reason *why)
{
	const struct conf *conf = &s->options.conf;
	static const char *const names[] = { SPOOL_FWD_LOCK, SPOOL_FWD_SOCKET, SPOOL_FWD_CTL_SOCKET };
	int err = spool_dir_prepare(conf->spool, s->user.uid, s->user.gid, why);
	if (!err)
		err = spool_dirs_open(conf->spool, &s->inputs.dirs, why);
	if (err)
		return reason_prefix(why, err, "spool");
	for (size_t i = 0; i < 3; i++)
		(void)snprintf(s->paths[i], sizeof s->paths[i], "%s/%s", conf->spool, names[i]);
	err = take_lock(s, why);
	if (!err && s->options.has_pid_file && s->is_root)
		err = daemon_pid_file_take(conf->forward_pid_file, &s->pid_fd, why);
	return err;
}

static int open_sockets(struct start *s, struct reason *why)
{
	int err = control_listen(s->paths[1], &s->inputs.notice_fd, why);
	if (!err)
		err = control_listen(s->paths[2], &s->inputs.control_fd, why);
	/* So that the forwarder's own user may ask too. */
	if (!err && s->is_root && chown(s->paths[2], s->user.uid, s->user.gid) != 0)
		err = reason_set(why, err_from_errno(errno), "%s: %s", s->paths[2], strerror(errno));
	return err;
}

static int start_broker(struct start *s, struct reason *why)
{
	char empty[CONF_PATH_CAP + 16];
	if (!s->is_root) {
		log_event(LOG_LEVEL_WARN, "unprivileged", "not root: connections carry no mark%s",
			  route_uses_spoof(&s->options.conf) ? "; mail of listen sections with identity = spoof will wait" : "");
		return 0;
	}
	(void)snprintf(empty, sizeof empty, "%s/%s", s->options.conf.spool, SPOOL_EMPTY_DIR);
	return broker_start_prepriv(&s->user, empty, &s->inputs.broker_fd, why);
}

static int find_user(struct start *s, struct reason *why)
{
	const struct conf *conf = &s->options.conf;
	int err = priv_lookup_prepriv(conf->forward_user, conf->forward_group, &s->user, why);
	s->is_root = priv_is_root();
	if (!err && !s->is_root && geteuid() != s->user.uid)
		err = reason_set(why, ERR_PERM, "start it as root (it then runs as '%s'), or as '%s' itself", conf->forward_user,
				 conf->forward_user);
	return err;
}

static int start_log(struct start *s, struct reason *why)
{
	enum log_level level = (enum log_level)s->options.conf.log_level;
	if (s->options.is_foreground) {
		log_setup("posternfwd", log_form_of_stderr(), level);
		return 0;
	}
	int err = s->is_root ? daemon_logger_start("posternfwd", &s->logger_fd, &s->logger_pid, why) : 0;
	log_setup("posternfwd", LOG_FORM_PRIORITY, level);
	return err;
}

/* Everything that needs root, and everything that can be wrong about the machine. */
static int open_prepriv(struct start *s, struct reason *why)
{
	int err = find_user(s, why);
	if (!err && spool_fault_prepriv() != 0)
		err = reason_set(why, ERR_SYNTAX, "POSTERN_FAULT names no fault point");
	if (!err)
		err = prepare_spool(s, why);
	if (!err)
		err = open_sockets(s, why);
	return err;
}

static int drop(const struct start *s, struct reason *why)
{
	if (!s->is_root)
		return 0;
	struct priv_plan plan = { .user = s->user, .runs_setid_programs = route_uses_programs(&s->options.conf) };
	return priv_drop(&plan, why);
}

static int fail(const struct reason *why)
{
	fprintf(stderr, "%sposternfwd: %s\n", log_complaint_prefix(), why->text);
	return 1;
}

int main(int argc, char **argv)
{
	static struct start s = { .inputs = { .notice_fd = -1, .control_fd = -1, .broker_fd = -1, .dirs = SPOOL_DIRS_CLOSED },
				  .logger_fd = -1 };
	struct reason why = { "" };
	if (argc > 1 && strcmp(argv[1], LOGGER_ROLE_ARG) == 0)
		return daemon_logger_run("posternfwd");
	if (argc > 1 && strcmp(argv[1], BROKER_ROLE_ARG) == 0)
		return broker_run(argc, argv);

	priv_start_process();
	log_unblock_prepriv();
	switch (fwd_options_read(argc, argv, &s.options)) {
	case FWD_OPTIONS_RUN: break;
	case FWD_OPTIONS_EXIT_OK: return 0;
	case FWD_OPTIONS_FAIL: return 1;
	case FWD_OPTIONS_USAGE: return 2;
	}
	if (!s.options.is_foreground && daemon_detach(&why) != 0)
		return fail(&why);
	if (open_prepriv(&s, &why) != 0)
		return fail(&why);
	/* Complaints of the start go to the terminal even when the log goes to syslog. */
	int log_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (start_log(&s, &why) != 0 || start_broker(&s, &why) != 0 || drop(&s, &why) != 0) {
		(void)dup2(log_fd, STDERR_FILENO);
		return fail(&why);
	}
	(void)close(log_fd);
	if (!conf_is_full_hostname(s.options.conf.hostname))
		log_event(LOG_LEVEL_WARN, "hostname", "our name is '%s': servers may not take it in a greeting; set hostname",
			  s.options.conf.hostname);
	s.inputs.max_files = priv_raise_file_limit();
	s.inputs.conf = s.options.conf;
	s.inputs.conf_path = s.options.conf_path;
	s.inputs.poll_ms = s.options.poll_s * 1000;
	daemon_detached();
	if (forwarder_run(&s.inputs, &why) != 0) {
		log_event(LOG_LEVEL_ERR, "start", "%s", why.text);
		return 1;
	}
	return 0;
}
