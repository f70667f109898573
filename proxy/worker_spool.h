/* worker_spool.h - a worker's side of the spool: the writer, what it asks the master for, and what it tells posternfwd.
 * Notices to posternfwd are cumulative: with a new connection the standing of every segment that is being written to is said again, and
 * of the last few that were sealed.
 */
#ifndef POSTERN_WORKER_SPOOL_H
#define POSTERN_WORKER_SPOOL_H

#include "ipc.h"
#include "loop.h"
#include "role_messages.h"
#include "verify_packet.h"
#include "writer.h"

struct worker_spool;

/* master: borrowed; ROLE_NEED_* and ROLE_FORWARDER_LOST are sent over it. */
int worker_spool_create(struct loop *loop, const struct conf *conf, struct ipc_channel *master, struct worker_spool **out);

struct spool_writer *worker_spool_writer(struct worker_spool *spool);

/* What the master answered.  Descriptors are owned from here on; -1 where the message carried none. */
void worker_spool_segment(struct worker_spool *spool, const struct role_segment *what, int fd);
void worker_spool_large(struct worker_spool *spool, const struct role_large *what, int fd);
void worker_spool_forwarder(struct worker_spool *spool, int fd);

/* The same connection carries questions about recipients (verify_packet.h), and their answers: on_answer, NULL when the connection is lost
 * and no more will come.  ERR_EOF: posternfwd is not there; else what ipc_channel_send returns. */
typedef void (*worker_spool_answer_fn)(void *ctx, const struct verify_answer *answer);
void worker_spool_on_answer(struct worker_spool *spool, worker_spool_answer_fn on_answer, void *ctx);
int worker_spool_ask(struct worker_spool *spool, const struct verify_ask *ask);

/* Every transaction must be over.  Calls back when the last job has ended and the last notice is out. */
void worker_spool_destroy(struct worker_spool **spool, loop_fn destroyed, void *ctx);

#endif
