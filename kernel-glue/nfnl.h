/* nfnl.h - netfilter's netlink: one socket for questions and transactions, another that hears of changes.  With nft_batch and the
 * readers of messages beside it, the home of libmnl.
 * The kernel works on what is sent within the call: its answers lie there when it returns, so nothing here waits for anybody.
 * Promise: whatever comes in is checked for its length before it is read.
 * Owns: the socket.  Needs: CAP_NET_ADMIN, at each send.  Fails: ERR_IO, and what err_from_errno makes of the kernel's refusal.
 */
#ifndef POSTERN_NFNL_H
#define POSTERN_NFNL_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct nfnl;

/* For questions and transactions. */
int nfnl_open(struct nfnl **out, struct reason *why);

/* Hears of every change of nft in this network namespace. */
int nfnl_open_changes(struct nfnl **out, struct reason *why);

int nfnl_fd(const struct nfnl *nl);
void nfnl_close(struct nfnl **nl);

/* Send one message, or a whole transaction.  The first refusal is the result; *errno_out (may be NULL) is what the kernel said. */
int nfnl_send(struct nfnl *nl, const void *bytes, size_t len, int *errno_out);

/* Send a question and hand on each message of the answer.  After its first failure (ERR_*) fn is not called
 * again, and the failure comes back.  ERR_AGAIN: what was asked about changed meanwhile, the answer is not whole. */
typedef int (*nfnl_message_fn)(void *ctx, const struct nlmsghdr *message);
int nfnl_ask(struct nfnl *nl, const struct nlmsghdr *question, nfnl_message_fn fn, void *ctx);

/* What has been heard so far, at most budget datagrams.  ERR_EOF: nothing more for now; ERR_NOSPACE: some of it was lost; 0: the budget is used
 * up, there may be more. */
int nfnl_hear(struct nfnl *nl, unsigned budget, nfnl_message_fn fn, void *ctx);

#endif
