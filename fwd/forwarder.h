/* forwarder.h - posternfwd's state, shared by the parts that schedule, deliver and settle.  Only for fwd/.
 * One struct, created after the privileges are gone, with what was opened before.
 */
#ifndef POSTERN_FORWARDER_H
#define POSTERN_FORWARDER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker.h"
#include "conf.h"
#include "control.h"
#include "fwd_message.h"
#include "journal.h"
#include "loop.h"
#include "spool_dir.h"
#include "tls.h"

struct forwarder_inputs {
	struct conf conf;
	const char *conf_path;   /* for SIGHUP; empty: nothing to read again */
	struct spool_dirs dirs;
	int notice_fd;           /* fwd.sock, listening */
	int control_fd;          /* fwdctl.sock, listening */
	int broker_fd;           /* -1: none */
	uint64_t poll_ms;
	uint64_t max_files;      /* the limit of open files */
};

struct forwarder_stats {
	uint64_t received, delivered, deferred, bounced, deleted, bad; /* messages; deferred counts attempts */
	uint64_t recipients_delivered, recipients_failed;
	uint64_t attempts, reports, reports_withheld, connections;
};

struct scheduler;
struct settle;
struct feed;
struct startup_scan;
struct verify;

struct forwarder {
	struct forwarder_inputs in;
	uint32_t conf_generation;
	struct loop *loop;
	struct broker *broker;
	struct tls_trust *trust;
	struct journal *journal;
	struct fwd_table messages;
	struct scheduler *scheduler;
	struct settle *settle;
	struct feed *feed;
	struct verify *verify;
	struct control_server *control;
	struct spool_id_source ids;
	struct forwarder_stats stats;
	struct startup_scan *startup_scan; /* NULL: every message is known */
	unsigned read_jobs; /* of startup_scan.h, queue_walk.h and message_answer.h, under way: the loop must not end before */
	int64_t started_time;
	bool is_stopping;
};

/* A record that nobody works on yet.  outcomes: one a recipient, NULL when all are still to do.  True: taken, and journal_settle will be
 * called for it some day. */
bool forwarder_take_record(struct forwarder *f, struct segment *segment, uint64_t offset, const struct spool_record *record,
                           const struct spool_envelope *envelope, const enum spool_outcome *outcomes);

int64_t forwarder_accepted_time(const struct spool_record *record, const struct spool_envelope *envelope);

/* Recover the spool, then serve until SIGTERM or SIGINT.  0: stopped in peace. */
int forwarder_run(const struct forwarder_inputs *inputs, struct reason *why);

#endif
