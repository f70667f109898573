#include "forwarder.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feed.h"
#include "fwd_control.h"
#include "log.h"
#include "quarantine.h"
#include "route.h"
#include "scheduler.h"
#include "settle.h"
#include "startup_scan.h"
#include "supervisor.h"
#include "sweeper.h"
#include "verify.h"

#define SWEEP_MS 600000u
#define STOP_MS 10000u
#define STOP_CHECK_MS 20u

/* Everything that lives as long as the loop. */
struct running {
	struct forwarder f;
	struct loop_signal *term, *intr, *hup, *chld;
	struct loop_timer *poll_timer, *stop_timer;
	struct sweeper *sweeper;
	uint64_t stop_at_ms;
	bool is_quiet;
};

/* ---- messages that are new to us */

int64_t forwarder_accepted_time(const struct spool_record *record, const struct spool_envelope *envelope)
{
	return envelope->time > 0 ? envelope->time : (int64_t)(spool_id_time_ms(&record->id) / 1000);
}

static uint32_t count_to_do(const enum spool_outcome *outcomes, size_t count)
{
	uint32_t left = 0;
	for (size_t i = 0; i < count; i++)
		left += !outcomes || outcomes[i] == SPOOL_OUTCOME_NONE || outcomes[i] == SPOOL_OUTCOME_DEFERRED;
	return left;
}

/* A crash came between its file in queue/ and the acknowledgement: the file knows more.  Until the start's scan is over, the disk
 * must be asked. */
static bool has_file(const struct forwarder *f, const struct spool_id *id)
{
	const struct fwd_message *m = fwd_table_find(&f->messages, id);
	return m ? !m->segment : f->startup_scan && spool_queue_has(&f->in.dirs, id);
}

bool forwarder_take_record(struct forwarder *f, struct segment *segment, uint64_t offset, const struct spool_record *record,
                           const struct spool_envelope *envelope, const enum spool_outcome *outcomes)
{
	struct fwd_message *m;
	size_t count = envelope->recipient_count;
	uint32_t left = count_to_do(outcomes, count);
	if (has_file(f, &record->id)) {
		journal_note(f->journal, segment, offset, SPOOL_ACK_ALL, SPOOL_OUTCOME_QUEUED);
		return false;
	}
	int err = fwd_table_add(&f->messages, &record->id, &m);
	if (err) {
		log_event(LOG_LEVEL_ERR, "not-taken", "%s is left for the next start: %s", record->id.text,
			  err == ERR_BUSY ? "there is another one of that name" : "no memory");
		/* Taken, and never to be settled: so its segment stays. */
		return true;
	}
	if (left < count) {
		m->outcomes = malloc(count * sizeof *m->outcomes);
		if (m->outcomes) {
			memcpy(m->outcomes, outcomes, count * sizeof *m->outcomes);
			m->outcome_count = (uint16_t)count;
		}
	}
	m->segment = segment;
	m->offset = offset;
	m->length = (uint32_t)spool_record_length(record);
	m->is_large = spool_record_is_large(record);
	m->size_bytes = record->body_len;
	m->recipients = (uint16_t)left;
	m->accepted_time = forwarder_accepted_time(record, envelope);
	f->stats.received++;
	(void)scheduler_add(f->scheduler, m, envelope);
	if (quarantine_wants(m, envelope))
		quarantine_hold(f, m, envelope);
	return true;
}

static bool new_record(void *ctx, struct segment *segment, uint64_t offset, const struct spool_record *record,
                       const struct spool_envelope *envelope, const enum spool_outcome *outcomes)
{
	return forwarder_take_record(ctx, segment, offset, record, envelope, outcomes);
}

/* ---- signals and timers */

static void check_stopped(void *ctx)
{
	struct running *r = ctx;
	struct forwarder *f = &r->f;
	r->is_quiet = scheduler_is_quiet(f->scheduler) && settle_is_quiet(f->settle) && journal_is_quiet(f->journal) &&
		      sweeper_is_quiet(r->sweeper) && verify_is_quiet(f->verify) && f->read_jobs == 0;
	if (r->is_quiet && f->control) {
		/* A listing that ends now gives segments free, and with them the journal work: once more, without askers. */
		control_server_destroy(&f->control);
		loop_timer_start(r->stop_timer, STOP_CHECK_MS);
	} else if (r->is_quiet || loop_now_ms(f->loop) >= r->stop_at_ms) {
		loop_stop(f->loop);
	} else {
		loop_timer_start(r->stop_timer, STOP_CHECK_MS);
	}
}

static void stop(void *ctx, int signum)
{
	struct running *r = ctx;
	if (r->f.is_stopping)
		return;
	log_event(LOG_LEVEL_INFO, "stopping", "signal %d: attempts under way may take %u s", signum, STOP_MS / 1000);
	r->f.is_stopping = true;
	supervisor_tell("STOPPING=1");
	feed_destroy(&r->f.feed);
	scheduler_stop(r->f.scheduler);
	r->stop_at_ms = loop_now_ms(r->f.loop) + STOP_MS;
	check_stopped(r);
}

/* Read as the forwarder's own user, since a reload has to read it again.  Only who asks for proof can't do without. */
static int load_trust(const struct conf *conf, struct tls_trust **out, struct reason *why)
{
	int err = tls_trust_create(conf->tls_ca_file, out, why);
	if (!err || route_uses_verify(conf))
		return err ? reason_prefix(why, err, "tls-ca-file") : 0;
	log_event(LOG_LEVEL_INFO, "trust", "tls-ca-file: %s: no certificate will count as verified", why->text);
	return tls_trust_create(NULL, out, why);
}

/* What was opened before the privileges went can't change; returns the name of the first such option that differs, or NULL. */
static const char *unchangeable(const struct conf *old, const struct conf *new)
{
	return strcmp(old->spool, new->spool) != 0                           ? "spool"
	       : strcmp(old->forward_user, new->forward_user) != 0           ? "forward-user"
	       : strcmp(old->forward_group, new->forward_group) != 0         ? "forward-group"
	       : strcmp(old->forward_pid_file, new->forward_pid_file) != 0   ? "forward-pid-file"
									     : NULL;
}

/* All of the file, or nothing: half of a change is what nobody has tried. */
static int read_conf(const struct forwarder *f, struct conf *conf, struct tls_trust **trust, struct reason *why)
{
	int err = conf_read(f->in.conf_path, conf, why);
	const char *name = err ? NULL : unchangeable(&f->in.conf, conf);
	if (name)
		err = reason_set(why, ERR_INVAL, "%s: a change of %s needs a restart", f->in.conf_path, name);
	return err ? err : load_trust(conf, trust, why);
}

static void reload(void *ctx, int signum)
{
	struct running *r = ctx;
	struct forwarder *f = &r->f;
	struct tls_trust *trust = NULL;
	struct reason why;
	struct conf *conf;
	(void)signum;
	if (!f->in.conf_path || !f->in.conf_path[0])
		return;
	conf = malloc(sizeof *conf);
	if (!conf || read_conf(f, conf, &trust, &why) != 0) {
		log_event(LOG_LEVEL_ERR, "reload", "the old configuration stays: %s", conf ? why.text : "no memory");
		free(conf);
		return;
	}
	f->in.conf = *conf;
	free(conf);
	tls_trust_release(&f->trust);
	f->trust = trust;
	f->conf_generation++;
	log_setup("posternfwd", log_form(), (enum log_level)f->in.conf.log_level);
	scheduler_reload(f->scheduler);
	log_event(LOG_LEVEL_INFO, "reload", "%s is in force", f->in.conf_path);
}

static void child_ended(void *ctx, int signum)
{
	struct running *r = ctx;
	int status;
	pid_t pid;
	(void)signum;
	/* Sockets process and logger are children too; their pipes tell of them. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		(void)scheduler_child_exited(r->f.scheduler, pid, status);
}

static void poll_due(void *ctx)
{
	struct running *r = ctx;
	if (r->f.is_stopping)
		return;
	journal_poll(r->f.journal);
	loop_timer_start(r->poll_timer, r->f.in.poll_ms);
}

/* ---- life */

static int build(struct running *r, struct reason *why)
{
	struct forwarder *f = &r->f;
	struct journal_events events = { new_record, f };
	int err = loop_create(&f->loop);
	if (!err)
		err = broker_create(f->loop, f->in.broker_fd, &f->broker);
	if (!err)
		err = journal_create(f->loop, &f->in.dirs, &events, &f->journal);
	if (!err)
		err = scheduler_create(f, &f->scheduler);
	if (!err)
		err = settle_create(f, &f->settle);
	if (!err)
		err = verify_create(f, feed_answer, &f->verify);
	if (!err)
		err = loop_signal_create(f->loop, SIGTERM, stop, r, &r->term);
	if (!err)
		err = loop_signal_create(f->loop, SIGINT, stop, r, &r->intr);
	if (!err)
		err = loop_signal_create(f->loop, SIGHUP, reload, r, &r->hup);
	if (!err)
		err = loop_signal_create(f->loop, SIGCHLD, child_ended, r, &r->chld);
	if (!err)
		err = loop_timer_create(f->loop, poll_due, r, &r->poll_timer);
	if (!err)
		err = loop_timer_create(f->loop, check_stopped, r, &r->stop_timer);
	if (!err)
		err = sweeper_create(f->loop, &f->in.dirs, SWEEP_MS, &r->sweeper);
	return err ? reason_set(why, err, "event loop: %s", err_name(err)) : 0;
}

static int open_doors(struct running *r, struct reason *why)
{
	struct forwarder *f = &r->f;
	int err = feed_create(f->loop, f->in.notice_fd, f->journal, f->verify, &f->feed);
	if (!err)
		err = control_server_create(f->loop, f->in.control_fd, fwd_control_ask, f, &f->control);
	return err ? reason_set(why, err, "sockets: %s", err_name(err)) : 0;
}

static void tear_down(struct running *r)
{
	struct forwarder *f = &r->f;
	control_server_destroy(&f->control);
	startup_scan_destroy(f);
	feed_destroy(&f->feed);
	verify_destroy(&f->verify);
	scheduler_destroy(&f->scheduler);
	settle_destroy(&f->settle);
	journal_destroy(&f->journal);
	broker_destroy(&f->broker);
	loop_signal_destroy(&r->term);
	loop_signal_destroy(&r->intr);
	loop_signal_destroy(&r->hup);
	loop_signal_destroy(&r->chld);
	loop_timer_destroy(&r->poll_timer);
	loop_timer_destroy(&r->stop_timer);
	sweeper_destroy(&r->sweeper);
	loop_destroy(&f->loop);
	tls_trust_release(&f->trust);
	fwd_table_free(&f->messages);
}

int forwarder_run(const struct forwarder_inputs *inputs, struct reason *why)
{
	struct running *r = calloc(1, sizeof *r);
	if (!r)
		return reason_set(why, ERR_NOMEM, "no memory");
	struct forwarder *f = &r->f;
	f->in = *inputs;
	f->started_time = loop_wall_time();
	spool_id_source_init(&f->ids, SPOOL_ID_WORKER_FWD);
	int err = load_trust(&f->in.conf, &f->trust, why);
	if (!err)
		err = build(r, why);
	if (!err)
		err = startup_scan_begin(f, why);
	if (!err)
		err = open_doors(r, why);
	if (err)
		return err; /* the process ends: there is nothing to give back */
	loop_timer_start(r->poll_timer, f->in.poll_ms);
	startup_scan_go_on(f);
	log_event(LOG_LEVEL_INFO, "started", "posternfwd " POSTERN_VERSION ", spool %s", f->in.conf.spool);
	supervisor_tell("READY=1");
	loop_run(f->loop);
	log_event(LOG_LEVEL_INFO, "stopped", "%zu messages wait for the next start%s", f->messages.count,
		  r->is_quiet ? "" : "; some attempts did not end in time: their mail may go out twice");
	if (r->is_quiet) {
		tear_down(r);
		free(r);
	}
	return 0;
}
