#include "feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc.h"
#include "log.h"
#include "notice.h"

#define WORKERS_MAX 256u
#define POLL_AGAIN_MS 300u /* journal_poll believes the second look */

struct worker {
	struct feed *feed;
	struct worker *next;
	struct ipc_channel *channel;
	struct notice_peer peer;
	unsigned asked; /* questions that wait for their answers */
};

struct feed {
	struct loop *loop;
	struct journal *journal;
	struct verify *verify;
	int fd;
	struct loop_io *io;
	struct loop_timer *poll_timer;
	struct worker *workers;
	unsigned count;
};

static void worker_close(struct worker *w)
{
	struct feed *feed = w->feed;
	struct worker **link = &feed->workers;
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	feed->count--;
	verify_forget(feed->verify, w);
	ipc_channel_destroy(&w->channel);
	free(w);
	/* It may have died, and its segment with it. */
	journal_poll(feed->journal);
	loop_timer_start(feed->poll_timer, POLL_AGAIN_MS);
}

void feed_answer(void *asker, const struct verify_answer *answer)
{
	struct worker *w = asker;
	w->asked--;
	/* Who does not take it goes on without, at its own deadline. */
	(void)ipc_channel_send(w->channel, VERIFY_ANSWER, answer, sizeof *answer, NULL, 0);
}

static enum step take_question(struct worker *w, const struct ipc_message *msg)
{
	struct verify_ask ask;
	struct verify_answer answer;
	if (!w->peer.is_known || msg->fd_count > 0 || verify_ask_check((struct span){ msg->payload, msg->len }, &ask) != 0 ||
	    w->asked >= VERIFY_PENDING_MAX)
		return STEP_FAIL;
	w->asked++;
	if (verify_ask(w->feed->verify, w, &ask, &answer) == STEP_DONE)
		feed_answer(w, &answer);
	return STEP_WAIT;
}

static void notice(void *ctx, struct ipc_message *msg)
{
	struct worker *w = ctx;
	struct spool_committed what;
	enum step step = msg->type == VERIFY_ASK
				 ? take_question(w, msg)
				 : notice_check(&w->peer, msg->type, (struct span){ msg->payload, msg->len }, msg->fd_count, &what);
	if (step == STEP_WAIT || (step == STEP_DONE && journal_notice(w->feed->journal, &what) != ERR_PROTO))
		return;
	char who[24] = "somebody";
	if (w->peer.is_known)
		(void)snprintf(who, sizeof who, "worker %u", w->peer.worker);
	log_event(LOG_LEVEL_ERR, "notice", "%s said what makes no sense (type %u, %zu bytes): the connection is closed", who, msg->type,
		  msg->len);
	worker_close(w);
}

static void closed(void *ctx, int err)
{
	(void)err;
	worker_close(ctx);
}

static void accept_worker(void *ctx, unsigned events)
{
	struct feed *feed = ctx;
	(void)events;
	int fd = accept4(feed->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct worker *w = feed->count < WORKERS_MAX ? calloc(1, sizeof *w) : NULL;
	if (!w || ipc_channel_create(feed->loop, fd, notice, closed, w, &w->channel) != 0) {
		free(w);
		(void)close(fd);
		return;
	}
	w->feed = feed;
	w->next = feed->workers;
	feed->workers = w;
	feed->count++;
	log_event(LOG_LEVEL_DEBUG, "worker-here", "%u connected", feed->count);
}

static void poll_again(void *ctx)
{
	struct feed *feed = ctx;
	journal_poll(feed->journal);
}

int feed_create(struct loop *loop, int listen_fd, struct journal *journal, struct verify *verify, struct feed **out)
{
	struct feed *feed = calloc(1, sizeof *feed);
	if (!feed)
		return ERR_NOMEM;
	*feed = (struct feed){ .loop = loop, .journal = journal, .verify = verify, .fd = listen_fd };
	int err = loop_timer_create(loop, poll_again, feed, &feed->poll_timer);
	if (!err)
		err = loop_io_create(loop, listen_fd, accept_worker, feed, &feed->io);
	if (!err)
		err = loop_io_want(feed->io, LOOP_READ);
	if (err) {
		loop_io_destroy(&feed->io);
		loop_timer_destroy(&feed->poll_timer);
		free(feed);
		return err;
	}
	*out = feed;
	return 0;
}

void feed_destroy(struct feed **feed)
{
	struct feed *f = *feed;
	if (!f)
		return;
	while (f->workers) {
		struct worker *w = f->workers;
		f->workers = w->next;
		verify_forget(f->verify, w);
		ipc_channel_destroy(&w->channel);
		free(w);
	}
	loop_timer_destroy(&f->poll_timer);
	loop_io_destroy(&f->io);
	(void)close(f->fd);
	free(f);
	*feed = NULL;
}
