#include "resolver.h"

#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "buf.h"
#include "dns_cache.h"
#include "dns_name.h"
#include "dns_shares.h"
#include "dns_waiters.h"

#define TRY_MS 1500      /* the first try at a server; each further round waits twice as long */
#define TRIES 3
#define EDNS_BYTES 1232  /* fits into one packet on every path (DNS flag day 2020) */
#define CACHE_ENTRIES 50000u
#define CACHE_BYTES (32u << 20)
#define LANES 3u
#define LANE_QUERIES 64u /* from one port; then it is another lane's turn, */
#define LANE_MS 1000u    /* and also after this time */
#define SOCKETS_MAX (NAME_SERVERS_MAX * LANES * 2u + 16u) /* UDP and TCP for each server, and a few that are on their way out */
#define BUCKETS 1024u

/* Questions leave by several lanes in turn.  c-ares keeps its ports for as long as a channel has questions, on a busy day for ever: time
 * enough to find them out and forge answers.  A lane takes its turn only when it is empty, and so with other ports. */
struct lane {
	struct resolver *resolver;
	ares_channel channel;
	size_t open;       /* queries that c-ares has */
	uint32_t begun;    /* in this turn */
	uint64_t since_ms; /* it began */
};

/* One question to the servers.  Lives until c-ares has called back, whoever still waits. */
struct query {
	struct query *chain;       /* in the bucket; only while it may be joined */
	struct query *prev, *next; /* in order of their beginning */
	struct resolver *resolver;
	struct lane *lane;
	struct dns_share *share;   /* of the client that asked first, for as long as c-ares has it */
	struct dns_waiter waiters; /* head of a ring */
	uint64_t due_ms;
	bool is_open;  /* still in its bucket */
	bool is_moved; /* cancelled only to be asked again of other servers */
	enum dns_type type;
	size_t name_len;
	char name[DNS_NAME_CAP];
};

struct watched {
	struct lane *lane;
	int fd;
	struct loop_io *io;
};

struct resolver {
	struct dns_source source;
	struct resolver_stats stats;
	struct loop *loop;
	struct lane lanes[LANES], *lane; /* lane: whose turn it is */
	struct name_servers servers;
	struct dns_cache *cache;
	struct loop_timer *timer;
	struct dns_waiters waiters;
	struct watched sockets[SOCKETS_MAX];
	struct query *buckets[BUCKETS];
	struct query queries; /* head of a ring */
	struct dns_shares shares;
	bool is_ending;
	struct dns_scratch scratch;
};

static const struct dns_answer no_memory = { .status = DNS_FAILED, .why = "no memory" };
static const struct dns_answer too_many = { .status = DNS_FAILED, .why = "too many questions for this client at once" };
static const struct dns_answer timed_out = { .status = DNS_FAILED, .why = "time-out" };
static const struct dns_answer bad_name = { .status = DNS_NO_NAME, .why = "" };
static const struct dns_answer no_servers = { .status = DNS_FAILED, .why = "no resolver" };

static uint64_t now_s(const struct resolver *r)
{
	return loop_now_ms(r->loop) / 1000;
}

/* ---- queries */

static struct query **bucket_of(struct resolver *r, struct span name, enum dns_type type)
{
	return &r->buckets[(span_hash_nocase(name) + (size_t)type) % BUCKETS];
}

static struct span query_name(const struct query *q)
{
	return (struct span){ q->name, q->name_len };
}

static struct query *find_open(struct resolver *r, struct span name, enum dns_type type)
{
	struct query *q = *bucket_of(r, name, type);
	while (q && (q->type != type || !span_eq_nocase(query_name(q), name)))
		q = q->chain;
	return q;
}

static void query_shut(struct query *q)
{
	struct query **link = bucket_of(q->resolver, query_name(q), q->type);
	if (!q->is_open)
		return;
	while (*link != q)
		link = &(*link)->chain;
	*link = q->chain;
	q->is_open = false;
}

/* Nobody joins it any more; who waits gets this answer. */
static void query_answer(struct query *q, const struct dns_answer *answer)
{
	struct resolver *r = q->resolver;
	struct dns_cached *cached = dns_cache_put(r->cache, query_name(q), q->type, answer, now_s(r));
	query_shut(q);
	while (!dns_waiter_ring_is_empty(&q->waiters)) {
		struct dns_cached *held = cached ? dns_cache_find(r->cache, query_name(q), q->type, now_s(r)) : NULL;
		dns_waiters_make_ready(&r->waiters, q->waiters.next, held, &no_memory);
	}
	dns_cached_release(&cached);
	if (answer->status == DNS_FAILED)
		r->stats.failures++;
}

static void query_free(struct query *q)
{
	query_shut(q);
	q->prev->next = q->next;
	q->next->prev = q->prev;
	dns_shares_give_back(&q->resolver->shares, &q->share);
	free(q);
}

static const char *why_of(int status)
{
	switch (status) {
	case ARES_ETIMEOUT: return "time-out";
	case ARES_ESERVFAIL: return "SERVFAIL";
	case ARES_EREFUSED: return "REFUSED";
	case ARES_ENOTIMP: return "NOTIMP";
	case ARES_EFORMERR: return "FORMERR";
	case ARES_EBADRESP: return "malformed answer";
	/* What c-ares says when it has tried the next server each time, for whatever reason, until there was none. */
	case ARES_ECONNREFUSED: return "SERVFAIL, REFUSED or no name server reached";
	case ARES_ENOMEM: return "no memory";
	default: return "no answer";
	}
}

static void query_done(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
	struct query *q = arg;
	struct resolver *r = q->resolver;
	struct dns_answer answer = { .status = DNS_FAILED, .why = why_of(status) };
	(void)timeouts;
	q->lane->open--;
	if (q->is_moved && status == ARES_ECANCELLED)
		return;
	if (!r->is_ending) {
		if (bytes && len > 0)
			dns_answer_parse((struct span){ (const char *)bytes, (size_t)len }, query_name(q), q->type, &r->scratch, &answer);
		query_answer(q, &answer);
	}
	query_free(q);
}

static void schedule(struct resolver *r)
{
	struct timeval tv = { 0, 0 };
	uint64_t now = loop_now_ms(r->loop), wait = RESOLVER_DEADLINE_MS;
	if (r->shares.taken == 0) {
		loop_timer_stop(r->timer);
		return;
	}
	for (size_t i = 0; i < LANES; i++)
		if (r->lanes[i].open && ares_timeout(r->lanes[i].channel, NULL, &tv)) {
			uint64_t left = (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1;
			wait = left < wait ? left : wait;
		}
	for (const struct query *q = r->queries.next; q != &r->queries; q = q->next)
		if (q->is_open) {
			uint64_t left = q->due_ms > now ? q->due_ms - now : 0;
			wait = left < wait ? left : wait;
			break;
		}
	loop_timer_start(r->timer, wait);
}

static void tick(void *ctx)
{
	struct resolver *r = ctx;
	uint64_t now = loop_now_ms(r->loop);
	/* c-ares may still bring an answer: too late for these, but the cache will have it. */
	for (struct query *q = r->queries.next; q != &r->queries && q->due_ms <= now; q = q->next)
		if (q->is_open)
			query_answer(q, &timed_out);
	for (size_t i = 0; i < LANES; i++)
		ares_process_fd(r->lanes[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	schedule(r);
}

static struct lane *next_lane(struct resolver *r)
{
	struct lane *lane = r->lane;
	uint64_t now = loop_now_ms(r->loop);
	bool is_over = lane->begun >= LANE_QUERIES || now - lane->since_ms >= LANE_MS;
	/* Without an empty one this one goes on: a question now is worth more than a new port. */
	for (size_t i = 0; is_over && i < LANES; i++)
		if (r->lanes[i].open == 0)
			lane = &r->lanes[i];
	if (lane->open == 0) {
		lane->begun = 0;
		lane->since_ms = now;
	}
	lane->begun++;
	return r->lane = lane;
}

/* May call query_done at once, which frees q. */
static void query_send(struct query *q)
{
	q->lane = next_lane(q->resolver);
	q->lane->open++;
	ares_query(q->lane->channel, q->name, 1, (int)q->type, query_done, q);
}

/* Takes over the share. */
static struct query *query_start(struct resolver *r, struct dns_share *share, struct span name, enum dns_type type)
{
	struct query *q = calloc(1, sizeof *q);
	if (!q) {
		dns_shares_give_back(&r->shares, &share);
		return NULL;
	}
	q->resolver = r;
	q->share = share;
	dns_waiter_ring_init(&q->waiters);
	q->type = type;
	q->name_len = name.len;
	memcpy(q->name, name.ptr, name.len);
	q->due_ms = loop_now_ms(r->loop) + RESOLVER_DEADLINE_MS;
	q->next = &r->queries;
	q->prev = r->queries.prev;
	q->prev->next = q->next->prev = q;
	struct query **bucket = bucket_of(r, name, type);
	q->chain = *bucket;
	*bucket = q;
	q->is_open = true;
	r->stats.queries++;
	return q;
}

/* ---- asking */

static uint64_t ask(void *ctx, const struct addr *client, struct span name, enum dns_type type, dns_answer_fn fn, void *fn_ctx)
{
	struct resolver *r = ctx;
	struct query *q = NULL;
	struct dns_share *share = NULL;
	struct dns_waiter *w = dns_waiters_add(&r->waiters, fn, fn_ctx);
	if (!w)
		return 0;
	uint64_t id = w->id;
	int err;
	struct dns_cached *cached = dns_cache_find(r->cache, name, type, now_s(r));
	if (cached || (q = find_open(r, name, type)) != NULL)
		r->stats.hits++;
	if (cached)
		dns_waiters_make_ready(&r->waiters, w, cached, NULL);
	else if (q)
		dns_waiter_join(&q->waiters, w);
	else if (!dns_name_is_askable(name))
		dns_waiters_make_ready(&r->waiters, w, NULL, &bad_name);
	else if (r->servers.count == 0)
		dns_waiters_make_ready(&r->waiters, w, NULL, &no_servers);
	else if ((err = dns_shares_take(&r->shares, client, &share)) == ERR_BUSY) {
		r->stats.refused++;
		dns_waiters_make_ready(&r->waiters, w, NULL, &too_many);
	} else if (err || (q = query_start(r, share, name, type)) == NULL) {
		dns_waiters_make_ready(&r->waiters, w, NULL, &no_memory);
	} else {
		dns_waiter_join(&q->waiters, w);
		/* The waiter is told on the next turn even if this ends it. */
		query_send(q);
		schedule(r);
	}
	return id;
}

static void cancel(void *ctx, uint64_t id)
{
	struct resolver *r = ctx;
	/* The query goes on: its answer is worth keeping. */
	dns_waiters_drop(&r->waiters, id);
}

/* ---- c-ares on our loop */

static void socket_ready(void *ctx, unsigned events)
{
	struct watched *s = ctx;
	struct lane *lane = s->lane;
	ares_socket_t fd = s->fd;
	ares_process_fd(lane->channel, events & LOOP_READ ? fd : ARES_SOCKET_BAD, events & LOOP_WRITE ? fd : ARES_SOCKET_BAD);
	schedule(lane->resolver);
}

static struct watched *watched_of(struct resolver *r, int fd)
{
	struct watched *unused = NULL;
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		if (r->sockets[i].io && r->sockets[i].fd == fd)
			return &r->sockets[i];
		if (!r->sockets[i].io && !unused)
			unused = &r->sockets[i];
	}
	return unused;
}

static void socket_changed(void *ctx, ares_socket_t fd, int reads, int writes)
{
	struct lane *lane = ctx;
	struct resolver *r = lane->resolver;
	struct watched *s = watched_of(r, fd);
	if (!s)
		return; /* its queries time out */
	if (!reads && !writes) {
		loop_io_destroy(&s->io);
		return;
	}
	s->lane = lane;
	s->fd = fd;
	if (!s->io && loop_io_create(r->loop, fd, socket_ready, s, &s->io))
		return;
	(void)loop_io_want(s->io, (reads ? LOOP_READ : 0u) | (writes ? LOOP_WRITE : 0u));
}

static int open_lane(struct resolver *r, struct lane *lane)
{
	static char lookups[] = "b";
	/* Everything that resolv.conf or the environment could say is said here: so c-ares opens neither it nor the hosts file. */
	struct ares_options options = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = TRY_MS,
		.tries = TRIES,
		.ednspsz = EDNS_BYTES,
		.lookups = lookups,
		.sock_state_cb = socket_changed,
		.sock_state_cb_data = lane,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_EDNSPSZ | ARES_OPT_LOOKUPS | ARES_OPT_SERVERS |
		   ARES_OPT_DOMAINS | ARES_OPT_SORTLIST | ARES_OPT_SOCK_STATE_CB;
	lane->resolver = r;
	if (ares_init_options(&lane->channel, &options, mask) == ARES_SUCCESS)
		return 0;
	lane->channel = NULL;
	return ERR_NOMEM;
}

int resolver_create_prepriv(struct resolver **out)
{
	struct resolver *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->source = (struct dns_source){ r, ask, cancel };
	r->queries.next = r->queries.prev = &r->queries;
	r->lane = r->lanes;
	r->shares.room = RESOLVER_IN_FLIGHT_MAX;
	dns_waiters_init(&r->waiters);
	int err = dns_cache_create(CACHE_ENTRIES, CACHE_BYTES, &r->cache);
	for (size_t i = 0; !err && i < LANES; i++)
		err = open_lane(r, &r->lanes[i]);
	if (err)
		resolver_destroy(&r);
	else
		*out = r;
	return err;
}

static int give_servers(struct resolver *r, const struct name_servers *servers)
{
	struct buf csv = { .cap = 1024 };
	char text[ENDPOINT_TEXT_CAP];
	int err = 0;
	for (size_t i = 0; !err && i < servers->count && i < NAME_SERVERS_MAX; i++)
		err = buf_printf(&csv, "%s%s", i ? "," : "", endpoint_format(&servers->list[i], text));
	if (!err)
		err = buf_append(&csv, "", 1);
	for (size_t i = 0; !err && servers->count && i < LANES; i++)
		if (ares_set_servers_ports_csv(r->lanes[i].channel, csv.data) != ARES_SUCCESS)
			err = ERR_INVAL;
	buf_free(&csv);
	if (!err)
		r->servers = *servers;
	return err;
}

int resolver_start(struct resolver *r, struct loop *loop, const struct name_servers *servers)
{
	int err = loop_timer_create(loop, tick, r, &r->timer);
	if (err)
		return err;
	r->loop = loop;
	dns_waiters_start(&r->waiters, loop);
	return give_servers(r, servers);
}

int resolver_set_servers(struct resolver *r, const struct name_servers *servers)
{
	bool is_same = servers->count == r->servers.count;
	for (size_t i = 0; is_same && i < servers->count; i++)
		is_same = endpoint_eq(&servers->list[i], &r->servers.list[i]);
	if (is_same)
		return 0;
	/* c-ares takes no other servers while it has queries. */
	for (struct query *q = r->queries.next; q != &r->queries; q = q->next)
		q->is_moved = true;
	for (size_t i = 0; i < LANES; i++)
		ares_cancel(r->lanes[i].channel);
	int err = give_servers(r, servers);
	dns_cache_clear(r->cache);
	/* A query that ends at once leaves the ring, and others never come in here: each is taken once. */
	for (struct query *q = r->queries.next, *next; q != &r->queries; q = next) {
		next = q->next;
		q->is_moved = false;
		if (r->servers.count) {
			query_send(q);
		} else {
			query_answer(q, &no_servers);
			query_free(q);
		}
	}
	schedule(r);
	return err;
}

const struct dns_source *resolver_source(const struct resolver *r)
{
	return &r->source;
}

const struct resolver_stats *resolver_stats(const struct resolver *r)
{
	return &r->stats;
}

void resolver_cached(const struct resolver *r, size_t *entries_out, size_t *bytes_out)
{
	*entries_out = dns_cache_count(r->cache);
	*bytes_out = dns_cache_bytes(r->cache);
}

void resolver_destroy(struct resolver **resolver)
{
	struct resolver *r = *resolver;
	if (!r)
		return;
	r->is_ending = true;
	dns_waiters_free(&r->waiters);
	for (size_t i = 0; i < LANES; i++)
		if (r->lanes[i].channel)
			ares_destroy(r->lanes[i].channel);
	for (size_t i = 0; i < SOCKETS_MAX; i++)
		loop_io_destroy(&r->sockets[i].io);
	loop_timer_destroy(&r->timer);
	dns_cache_destroy(&r->cache);
	free(r);
	*resolver = NULL;
}
