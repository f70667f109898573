/* counters.h - what the workers count, in memory shared with the master.
 * A worker writes only its own slot, without locks; the master adds the slots up for `postern status`.  The numbers outlive a
 * worker that dies.  The master trusts them as numbers, nothing more.
 */
#ifndef POSTERN_COUNTERS_H
#define POSTERN_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "milter_spec.h"

/* One name a counter: the enum, the key that status shows.  gauge: goes down again, is set to 0 when its worker dies. */
#define COUNTER_LIST(X) \
	X(SESSIONS, "sessions", 1) \
	X(TXNS_OPEN, "transactions", 1) \
	X(CLIENTS, "clients_remembered", 1) \
	X(CONNECTIONS, "connections", 0) \
	X(REFUSED_DIRECT, "refused_direct_hit", 0) \
	X(REFUSED_LOOP, "refused_loop", 0) \
	X(REFUSED_FULL, "refused_full", 0) \
	X(REFUSED_ORIGDST, "refused_no_destination", 0) \
	X(REFUSED_PROXY_HEADER, "refused_no_proxy_header", 0) \
	X(BALANCER_CHECKS, "balancer_checks", 0) \
	X(REFUSED_CLIENT_MANY, "refused_client_connections", 0) \
	X(REFUSED_CLIENT_FAST, "refused_client_rate", 0) \
	X(REFUSED_LOAD, "refused_load", 0) \
	X(EARLY_TALKERS, "early_talkers", 0) \
	X(FOREIGN_PROTOCOL, "foreign_protocol", 0) \
	X(TOO_MANY_ERRORS, "too_many_errors", 0) \
	X(NULL_CONNECTIONS, "null_connections", 0) \
	X(RCPT_TOO_FAST, "rcpt_too_fast", 0) \
	X(TARPITTED, "tarpitted", 0) \
	X(DROPPED, "dropped", 0) \
	X(PASSED, "passed", 0) \
	X(SENT_TO_TARPIT, "sent_to_tarpit", 0) \
	X(STUTTERED, "stuttered", 0) \
	X(STUTTERING, "stuttering", 1) \
	X(PARANOID, "refused_by_paranoia", 0) \
	X(RCPT_ALLOW, "rcpt_allow", 0) \
	X(RCPT_NOTO, "rcpt_noto", 0) \
	X(RCPT_DENY, "rcpt_deny", 0) \
	X(RCPT_TEMPFAIL, "rcpt_tempfail", 0) \
	X(RCPT_UNKNOWN, "rcpt_unknown", 0) \
	X(RCPT_MILTER, "rcpt_refused_by_milter", 0) \
	X(MESSAGES_STORED, "messages_stored", 0) \
	X(MESSAGES_REFUSED, "messages_refused", 0) \
	X(MESSAGES_DISCARDED, "messages_discarded", 0) \
	X(CONTENT_MATCHES, "content_matches", 0) \
	X(CONTENT_UNKNOWN, "content_unknown", 0) \
	X(CONTENT_UNDECODED, "content_undecoded", 0) \
	X(EXTCHECKS, "extchecks", 1) \
	X(EXTCHECK_ACCEPTED, "extcheck_accepted", 0) \
	X(EXTCHECK_CHANGED, "extcheck_changed", 0) \
	X(EXTCHECK_REJECTED, "extcheck_rejected", 0) \
	X(EXTCHECK_RETRY, "extcheck_retry", 0) \
	X(EXTCHECK_TIMEOUT, "extcheck_timeout", 0) \
	X(EXTCHECK_BUSY, "extcheck_busy", 0) \
	X(EXTCHECK_FAILED, "extcheck_failed", 0) \
	X(BYTES_STORED, "bytes_stored", 0) \
	X(SPOOL_FAILURES, "spool_failures", 0) \
	X(SYNCS, "spool_syncs", 0) \
	X(SYNC_US, "spool_sync_us", 0) \
	X(DNS_QUERIES, "dns_queries", 0) \
	X(DNS_HITS, "dns_cache_hits", 0) \
	X(DNS_CACHED, "dns_cache_entries", 1) \
	X(DNS_CACHED_BYTES, "dns_cache_bytes", 1) \
	X(DNS_FAILURES, "dns_failures", 0) \
	X(DNS_REFUSED, "dns_refused", 0) \
	X(FACTS_FAILED, "facts_failed", 0) \
	X(LIST_ERRORS, "list_errors", 0) \
	X(IDENT_QUERIES, "ident_queries", 0) \
	X(IDENT_OWN_ADDRESS, "ident_from_own_address", 0) \
	X(LOG_LOST, "log_lines_lost", 0)

enum counter {
#define X(id, name, gauge) COUNTER_##id,
	COUNTER_LIST(X)
#undef X
	COUNTER_COUNT
};

/* Of each configured milter, by its place; set to 0 when a reload has changed the list. */
#define MILTER_COUNTER_LIST(X) \
	X(ASKED, "asked") \
	X(REFUSED, "refused") \
	X(DISCARDED, "discarded") \
	X(QUARANTINED, "quarantined") \
	X(CHANGED, "changed") \
	X(FAILURES, "failures")

enum milter_counter {
#define X(id, name) MILTER_COUNTER_##id,
	MILTER_COUNTER_LIST(X)
#undef X
	MILTER_COUNTER_COUNT
};

/* Did it speak, the last time that somebody tried? */
enum milter_state_seen { MILTER_UNTRIED, MILTER_UP, MILTER_DOWN };

struct milter_counters {
	uint64_t values[MILTER_COUNTER_COUNT];
	uint64_t state;            /* enum milter_state_seen */
	uint64_t state_time;       /* seconds since 1970 */
	uint64_t last_error;       /* the number of an ERR_*, without its sign; 0: none */
	uint64_t last_failed_time; /* seconds since 1970 */
};

struct counter_slot {
	uint64_t values[COUNTER_COUNT];
	struct milter_counters milters[MILTERS_MAX];
	uint64_t heartbeats; /* one a second while the worker's loop turns */
	char pad[64]; /* the next worker's slot starts on a cache line of its own */
};

struct counters {
	struct counter_slot *slots;
	size_t slot_count;
};

const char *counter_name(enum counter id);

/* Master: new zeroed memory for slot_count workers; *fd_out goes to each of them. */
int counters_create(size_t slot_count, struct counters *out, int *fd_out);

/* Worker: map what the master passed; checks the size. */
int counters_map(int fd, size_t slot_count, struct counters *out);

static inline void counter_add(struct counter_slot *slot, enum counter id, uint64_t n)
{
	/* One writer, other processes read: a plain add with an untorn store is all it needs. */
	__atomic_store_n(&slot->values[id], slot->values[id] + n, __ATOMIC_RELAXED);
}

static inline void counter_sub(struct counter_slot *slot, enum counter id, uint64_t n)
{
	counter_add(slot, id, 0 - n);
}

static inline void counter_set(struct counter_slot *slot, enum counter id, uint64_t value)
{
	__atomic_store_n(&slot->values[id], value, __ATOMIC_RELAXED);
}

static inline void counter_heartbeat(struct counter_slot *slot)
{
	__atomic_store_n(&slot->heartbeats, slot->heartbeats + 1, __ATOMIC_RELAXED);
}

static inline uint64_t counter_heartbeats(const struct counter_slot *slot)
{
	return __atomic_load_n(&slot->heartbeats, __ATOMIC_RELAXED);
}

uint64_t counters_sum(const struct counters *c, enum counter id);

const char *milter_counter_name(enum milter_counter id);

static inline void milter_counter_add(struct counter_slot *slot, size_t milter, enum milter_counter id)
{
	uint64_t *value = &slot->milters[milter].values[id];
	__atomic_store_n(value, *value + 1, __ATOMIC_RELAXED);
}

void milter_counters_failed(struct counter_slot *slot, size_t milter, int err, int64_t time);
void milter_counters_state(struct counter_slot *slot, size_t milter, enum milter_state_seen state, int64_t time);

/* Of all workers together; the last failure is the latest. */
void milter_counters_sum(const struct counters *c, size_t milter, struct milter_counters *out);

/* Other milters stand in these places now. */
void milter_counters_clear(struct counter_slot *slot);

/* A worker died: what it held is gone. */
void counters_clear_gauges(struct counter_slot *slot);

#endif
