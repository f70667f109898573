#include "forwarder_links.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "committed_notice.h"
#include "log.h"
#include "spool_dir.h"

#define RETRY_MS 1000u

struct forwarder_links {
	const char *spool;
	struct worker_crew *crew;
	struct loop_timer *timer;
	bool is_started, is_stopped;
	bool is_due;    /* the timer runs */
	bool is_missed; /* said once that posternfwd is not there */
	bool has[LISTENER_MEMBERS_MAX];
};

static int connect_forwarder(const char *spool, uint32_t worker)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof sa.sun_path, "%s/%s", spool, SPOOL_FWD_SOCKET);
	int fd = n < 0 || (size_t)n >= sizeof sa.sun_path ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0 ||
			ipc_send(fd, NOTICE_WORKER, &worker, sizeof worker, NULL, 0) != 0)) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

/* A timer that runs is left alone: a worker that loses its connection again and again must not keep the others waiting. */
static void link_later(struct forwarder_links *l, uint64_t after_ms)
{
	if (l->is_due || l->is_stopped)
		return;
	l->is_due = true;
	loop_timer_start(l->timer, after_ms);
}

static void log_change(struct forwarder_links *l, bool is_missing)
{
	if (is_missing == l->is_missed || !l->is_started)
		return;
	l->is_missed = is_missing;
	if (is_missing)
		log_event(LOG_LEVEL_WARN, "forwarder-away", "posternfwd does not run: mail is accepted and waits in the spool");
	else
		log_event(LOG_LEVEL_INFO, "forwarder-here", "posternfwd is there: mail flows on");
}

static void link_all(struct forwarder_links *l)
{
	bool is_missing = false;
	for (uint32_t i = 0; i < l->crew->count; i++) {
		struct worker_process *worker = l->crew->workers[i];
		if (l->has[i] || worker_process_state(worker) != WORKER_RUNNING)
			continue;
		int fd = connect_forwarder(l->spool, i);
		if (fd < 0) {
			is_missing = true;
			break;
		}
		l->has[i] = worker_process_send(worker, ROLE_FORWARDER, NULL, 0, fd) == 0;
		(void)close(fd);
		if (!l->has[i])
			link_later(l, RETRY_MS);
	}
	log_change(l, is_missing);
	if (is_missing)
		link_later(l, RETRY_MS);
}

static void link_due(void *ctx)
{
	struct forwarder_links *l = ctx;
	l->is_due = false;
	link_all(l);
}

int forwarder_links_create(struct loop *loop, const char *spool, struct worker_crew *crew, struct forwarder_links **out)
{
	struct forwarder_links *l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	l->spool = spool;
	l->crew = crew;
	int err = loop_timer_create(loop, link_due, l, &l->timer);
	if (err) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void forwarder_links_start(struct forwarder_links *links)
{
	links->is_started = true;
	link_all(links);
}

void forwarder_links_stop(struct forwarder_links *links)
{
	links->is_stopped = true;
}

void forwarder_links_forget(struct forwarder_links *links, uint32_t worker)
{
	links->has[worker] = false;
}

void forwarder_links_lost(struct forwarder_links *links, uint32_t worker)
{
	links->has[worker] = false;
	/* Not at once: a forwarder that ends closes its connections before its socket. */
	link_later(links, RETRY_MS / 10);
}

bool forwarder_links_has(const struct forwarder_links *links, uint32_t worker)
{
	return links->has[worker];
}

void forwarder_links_destroy(struct forwarder_links **links)
{
	struct forwarder_links *l = *links;
	if (!l)
		return;
	loop_timer_destroy(&l->timer);
	free(l);
	*links = NULL;
}
