/* client_verdict.h - what the rule actions drop, pass and tarpit say of a client, on its way from a worker over the master to the gate.
 * A worker names no address: it shows the client's connection, and the kernel says who is there and by which listener it came.  So a worker that is
 * taken over can block or let pass only who has really connected to it, not trusted clients, not this host, and so many a minute.
 */
#ifndef POSTERN_CLIENT_VERDICT_H
#define POSTERN_CLIENT_VERDICT_H

#include "gate_messages.h"
#include "ipc.h"
#include "listener.h"
#include "token_bucket.h"

#define CLIENT_VERDICTS_A_MINUTE 1200u

/* The worker's side.  Lost when the master is behind: the client will be judged again. */
void client_verdict_tell(struct ipc_channel *master, enum kernel_set_purpose purpose, uint32_t listen_index, int connection_fd);

/* The master's side. */
struct client_verdicts {
	struct token_bucket workers[LISTENER_MEMBERS_MAX];
	bool has_complained; /* of one worker's haste: once */
};

/* Whose connection a worker shows.  ERR_PROTO: no such listener or connection; ERR_PERM: this host itself. */
int client_verdict_who(const struct role_conf *conf, uint32_t listen_index, int connection_fd, struct addr *out);

/* What is to be said to the gate.  ERR_PROTO: no purpose, no listener, no such connection; ERR_PERM: one that is never blocked or let pass;
 * ERR_AGAIN: over the rate. */
int client_verdict_check(struct client_verdicts *verdicts, const struct role_conf *conf, uint32_t worker, uint64_t now_ms,
			 const struct role_client_verdict *told, int connection_fd, struct gate_client *out);

#endif
