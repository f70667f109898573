/* nfqueue.h - packets that the kernel holds until it is told what to do with them: one queue, its socket, and what went wrong with it.
 * Promise: packets are judged in their order and each at once; none is parked.  Verdicts that are the same for neighbours go as one.
 * Owns: the socket.  Needs: CAP_NET_ADMIN, for opening and for every verdict.
 * Fails: a queue whose process dies lets packets pass where the rule says so (--queue-bypass), else drops them.
 */
#ifndef POSTERN_NFQUEUE_H
#define POSTERN_NFQUEUE_H

#include "err.h"
#include "nfqueue_message.h"

struct nfqueue;

/* ERR_PERM: no right, or the queue is another process's; ERR_UNSUPPORTED: no NFQUEUE in this kernel. */
int nfqueue_open(const struct nfqueue_setup *setup, struct nfqueue **out, struct reason *why);
int nfqueue_fd(const struct nfqueue *queue);
void nfqueue_close(struct nfqueue **queue); /* accepts a NULL inside, clears it */

/* Called for each packet, during nfqueue_run. */
typedef struct nfqueue_verdict (*nfqueue_judge_fn)(void *ctx, const struct nfqueue_packet *packet);

/* Judges what has arrived, at most NFQUEUE_BUDGET packets; does not block.  ERR_IO: the socket is of no use any more. */
#define NFQUEUE_BUDGET 1024u
int nfqueue_run(struct nfqueue *queue, nfqueue_judge_fn judge, void *ctx);

/* What the kernel counts of a queue (proc(5) has no page for it; nf_queue in the kernel's sources). */
struct nfqueue_counts {
	uint64_t waiting;      /* for their verdict, now */
	uint64_t dropped_full; /* since the queue was full; with is_fail_open such packets pass, and are counted nowhere */
	uint64_t dropped_user; /* since its socket was full; the same */
	uint64_t queued;       /* modulo 2^32 */
};

/* ERR_NOTFOUND: nobody has opened that queue in this network namespace.  Reads one small file of /proc. */
int nfqueue_counts_read(uint16_t number, struct nfqueue_counts *out);

#endif
