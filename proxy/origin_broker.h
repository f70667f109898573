/* origin_broker.h - the master's side of original destinations that a session worker can't ask the kernel for: in a conntrack zone.
 * A worker names no address: it shows a client's connection, and gets what connection tracking knows of that one.
 * Promise: never waits; one question to the kernel for each.  Owns: its netlink socket, opened with the first question.
 */
#ifndef POSTERN_ORIGIN_BROKER_H
#define POSTERN_ORIGIN_BROKER_H

#include <stdbool.h>

#include "nfnl.h"
#include "origdst.h"
#include "role_messages.h"

/* Zeroed: nothing was asked yet. */
struct origin_broker {
	struct nfnl *nl;
	bool has_complained; /* that this host cannot do it: once */
};

/* As origdst_find, in the listener's zone, too. */
int origin_broker_find(struct origin_broker *broker, const struct conf_listen *listen, int fd, const struct endpoint *client,
		       struct origdst *out, struct reason *why);

/* connection_fd: of the message, -1 if it had none; stays the caller's. */
void origin_broker_answer(struct origin_broker *broker, const struct conf *conf, const struct role_origin_wanted *wanted, int connection_fd,
			  struct role_origin *answer_out);

void origin_broker_close(struct origin_broker *broker);

#endif
