#include "client_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "err.h"

#define HEADS 16384u /* a power of two */
#define LOOKED_AT_MAX 16u

struct client {
	struct client *next;
	struct addr addr;
	uint32_t connections, stutters;
	struct token_bucket connection_bucket, recipient_bucket;
};

struct client_table {
	uint64_t key[2]; /* so that nobody can choose addresses that meet in one chain */
	size_t count, idle;
	uint32_t hand; /* the chain to look at next when there are too many */
	struct client *heads[HEADS];
};

int client_table_create(struct client_table **out)
{
	struct client_table *t = calloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	if (getrandom(t->key, sizeof t->key, 0) != (ssize_t)sizeof t->key) {
		free(t);
		return ERR_IO;
	}
	*out = t;
	return 0;
}

void client_table_destroy(struct client_table **table)
{
	struct client_table *t = *table;
	if (!t)
		return;
	for (size_t i = 0; i < HEADS; i++)
		while (t->heads[i]) {
			struct client *c = t->heads[i];
			t->heads[i] = c->next;
			free(c);
		}
	free(t);
	*table = NULL;
}

/* The finalizer of MurmurHash3 (public domain). */
static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 33;
}

static struct client **chain_of(struct client_table *t, const struct addr *addr)
{
	uint64_t net;
	memcpy(&net, addr->bytes, sizeof net);
	uint64_t h = mix(mix(net ^ t->key[0]) ^ t->key[1] ^ addr->family);
	return &t->heads[h & (HEADS - 1)];
}

static uint64_t owes_ms(const struct client *c, const struct client_limits *limits, uint64_t now_ms)
{
	uint64_t a = token_bucket_left_ms(&c->connection_bucket, limits->connection_rate, now_ms);
	uint64_t b = token_bucket_left_ms(&c->recipient_bucket, limits->recipient_rate, now_ms);
	return a > b ? a : b;
}

static void forget(struct client_table *t, struct client **link)
{
	struct client *c = *link;
	*link = c->next;
	t->count--;
	t->idle--;
	free(c);
}

/* Makes room for one more idle client. */
static void push_out(struct client_table *t, const struct client_limits *limits, uint64_t now_ms)
{
	struct client **least = NULL;
	uint64_t least_ms = UINT64_MAX;
	unsigned looked_at = 0;
	for (uint32_t turns = 0; turns < HEADS && looked_at < LOOKED_AT_MAX; turns++) {
		struct client **link = &t->heads[t->hand];
		t->hand = (t->hand + 1) & (HEADS - 1);
		while (*link && looked_at < LOOKED_AT_MAX) {
			if ((*link)->connections == 0) {
				uint64_t ms = owes_ms(*link, limits, now_ms);
				looked_at++;
				if (ms < least_ms) {
					least_ms = ms;
					least = link;
				}
			}
			link = &(*link)->next;
		}
	}
	if (least)
		forget(t, least);
}

enum client_answer client_table_enter(struct client_table *t, const struct addr *addr, const struct client_limits *limits, uint64_t now_ms,
				      struct client **client_out)
{
	const struct addr key = addr_client(addr);
	struct client **head = chain_of(t, &key), *c = *head;
	while (c && !addr_eq(&c->addr, &key))
		c = c->next;
	if (!c) {
		c = calloc(1, sizeof *c);
		if (!c) {
			*client_out = NULL;
			return CLIENT_WELCOME;
		}
		c->addr = key;
		c->next = *head;
		*head = c;
		t->count++;
		t->idle++;
	}
	if (limits->connections && c->connections >= limits->connections)
		return CLIENT_TOO_MANY;
	if (!token_bucket_take(&c->connection_bucket, limits->connection_rate, now_ms))
		return CLIENT_TOO_FAST;
	if (c->connections++ == 0)
		t->idle--;
	*client_out = c;
	return CLIENT_WELCOME;
}

void client_table_leave(struct client_table *t, const struct client_limits *limits, uint64_t now_ms, struct client **client)
{
	struct client *c = *client;
	*client = NULL;
	if (!c || --c->connections)
		return;
	t->idle++;
	if (owes_ms(c, limits, now_ms) == 0) {
		struct client **link = chain_of(t, &c->addr);
		while (*link != c)
			link = &(*link)->next;
		forget(t, link);
	} else if (t->idle > CLIENT_TABLE_IDLE_MAX) {
		push_out(t, limits, now_ms);
	}
}

bool client_take_recipient(struct client *c, const struct client_limits *limits, uint64_t now_ms)
{
	return !c || token_bucket_take(&c->recipient_bucket, limits->recipient_rate, now_ms);
}

uint32_t client_connections(const struct client *c)
{
	return c->connections;
}

uint32_t client_stutters(const struct client *c)
{
	return c->stutters;
}

void client_start_stuttering(struct client *c)
{
	c->stutters++;
}

void client_stop_stuttering(struct client *c)
{
	c->stutters--;
}

size_t client_table_count(const struct client_table *t)
{
	return t->count;
}
