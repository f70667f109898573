/* client_table.h - what one worker remembers about clients: connections that are open, and how fast they and their recipients came.
 * A client is an IPv4 address or an IPv6 /64.  The kernel picks the worker by just that, so nothing is shared between workers.
 * Promise: who has a connection open is never forgotten.  Who has none is kept until nothing is owed to his rates (a minute at most).  At most
 * CLIENT_TABLE_IDLE_MAX such entries are kept; one too many pushes out the one that owes least of those the hand passes.  So a crowd of
 * addresses that come once each pushes out its like, and not the client that has used its rate up.
 * Owns: the entries; a client is held from a successful enter to its leave.  Limits: 16 entries looked at for one pushed out.
 */
#ifndef POSTERN_CLIENT_TABLE_H
#define POSTERN_CLIENT_TABLE_H

#include <stddef.h>

#include "addr.h"
#include "token_bucket.h"

#define CLIENT_TABLE_IDLE_MAX 65536u

struct client;
struct client_table;

/* 0: no limit. */
struct client_limits {
	uint64_t connections;     /* at once */
	uint64_t connection_rate; /* a minute */
	uint64_t recipient_rate;  /* a minute */
};

enum client_answer {
	CLIENT_WELCOME,
	CLIENT_TOO_MANY, /* connections at once */
	CLIENT_TOO_FAST, /* connections a minute */
};

int client_table_create(struct client_table **out);
void client_table_destroy(struct client_table **table);

/* One more connection.  *client_out on CLIENT_WELCOME only: NULL without memory, when the client passes unlimited rather than not at all. */
enum client_answer client_table_enter(struct client_table *table, const struct addr *addr, const struct client_limits *limits, uint64_t now_ms,
				      struct client **client_out);

/* That connection has ended.  NULL does nothing; clears the pointer. */
void client_table_leave(struct client_table *table, const struct client_limits *limits, uint64_t now_ms, struct client **client);

/* One more recipient.  False: too fast.  NULL passes. */
bool client_take_recipient(struct client *client, const struct client_limits *limits, uint64_t now_ms);

uint32_t client_connections(const struct client *client);

/* How many of these connections are in the tarpit (stutter.h). */
uint32_t client_stutters(const struct client *client);
void client_start_stuttering(struct client *client);
void client_stop_stuttering(struct client *client);

/* Entries in all, connected or remembered. */
size_t client_table_count(const struct client_table *table);

#endif
