/* milter_broker.h - the master's side of milters: opens connections to the configured filters, for the session workers, which may open none.
 * A worker names no address, only the place of a filter in the configuration: one that is taken over reaches these filters and nobody else.
 * Names of hosts are looked up by jobs, at (re)load, and again when they are asked for and older than MILTER_BROKER_NAME_MS.
 * Promise: never waits.  Bounds: MILTER_BROKER_RATE connections a minute for each worker.
 */
#ifndef POSTERN_MILTER_BROKER_H
#define POSTERN_MILTER_BROKER_H

#include "conf.h"
#include "listener.h"
#include "loop.h"
#include "role_messages.h"
#include "token_bucket.h"

#define MILTER_BROKER_RATE 120000u
#define MILTER_BROKER_NAME_MS 60000u

struct milter_broker {
	struct loop *loop;
	uint64_t generation; /* of the configuration: a look-up for an older one is of no use */
	struct milter_specs specs;
	struct {
		struct endpoint address; /* ADDR_NONE: unix, or not known */
		bool is_name, is_looking;
		uint64_t looked_ms;
		int err;                 /* of the last look-up */
	} filters[MILTERS_MAX];
	struct token_bucket workers[LISTENER_MEMBERS_MAX];
};

/* At start and after each reload.  The broker must stay where it is until the loop has ended. */
void milter_broker_set(struct milter_broker *broker, struct loop *loop, const struct conf *conf);

/* Returns the descriptor to send with the answer, the caller's to close, or -1 where answer_out->err says why there is none. */
int milter_broker_answer(struct milter_broker *broker, uint32_t worker, const struct role_milter_wanted *wanted, struct role_milter *answer_out);

#endif
