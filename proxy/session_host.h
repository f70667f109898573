/* session_host.h - what all sessions of one worker share.
 * Owns: nothing by itself; role_session.c builds it before the first session and takes it down behind the last.
 */
#ifndef POSTERN_SESSION_HOST_H
#define POSTERN_SESSION_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "counters.h"
#include "fact_finder.h"
#include "filter_set.h"
#include "loop.h"
#include "master_requests.h"
#include "message_id.h"
#include "milter_health.h"
#include "resolver.h"
#include "role_messages.h"
#include "rule_hits.h"
#include "rules.h"
#include "space.h"
#include "writer.h"

#define SESSION_SCRATCH_BYTES 65536u
#define SESSION_HELD_BYTES_MAX (256u << 20) /* beyond, DATA is answered with 452 */
#define CONTENT_CHANGED_BYTES_MAX (512u << 20) /* beyond, a message that a check has changed is answered with 452 */

struct client_table;
struct stutterers;
struct session;
struct recipient_checks;
struct checker_link;
struct list_told;

struct session_host {
	struct loop *loop;
	uint32_t worker;
	struct role_conf conf;      /* replaced at a reload: sessions keep no pointer into it across turns of the loop */
	struct rules *rules;        /* replaced at a reload: an evaluation holds its own */
	struct rule_hits hits;      /* of these rules: an evaluation under older ones is not counted */
	struct filter_set *filter;  /* NULL: none; replaced with the rules: a message under way holds its own */
	struct resolver *resolver;
	struct fact_service *fact_service;
	struct ipc_channel *master; /* when it is gone, sending fails */
	struct list_told *list_told;
	struct master_requests *ident_sockets, *milter_sockets, *origins; /* ident_sockets.h, milter_sockets.h, origin_lookups.h */
	struct milter_specs milters; /* of conf: replaced with it */
	struct milter_health milter_health;
	struct spool_writer *writer;
	struct recipient_checks *checks;
	struct checker_link *checker;
	struct spool_id_source ids;
	struct client_table *clients;
	struct stutterers *stutterers;
	struct counter_slot *counters;
	uint64_t next_sid;

	struct session *sessions;   /* list of all that are open */
	struct session *dead;       /* closed ones, freed on the next turn of the loop */
	struct loop_task reap;      /* by this: session_host_init */
	size_t session_count;       /* of both */
	size_t session_limit;       /* what the limit of open files leaves room for, with a reserve for large bodies */
	uint64_t held_bytes;        /* bodies in memory, of all sessions */
	uint64_t changed_bytes;     /* of messages that checks have changed, which lie in memory until they are on disk */
	struct spool_space space;   /* as of space_ms, by the loop's clock */
	uint64_t space_ms;
	uint64_t complain_ms;       /* messages that can't be stored: when the operator is told again */
	uint64_t unstored;          /* since the operator was last told */
	bool is_draining;
	loop_fn emptied;            /* the last session has ended while draining */
	void *emptied_ctx;

	char scratch[SESSION_SCRATCH_BYTES]; /* every read of every session goes here first: idle sessions hold no buffer */
};

#endif
