/* flow_cleaner.h - takes the flows of clients that were just cut off out of connection tracking: their packets are dropped in front of it, so
 * an entry of theirs would stay for days, and what they had open through this host would wait as long.
 * A walk through the kernel's table serves all who came in the last FLOW_CLEANER_MS, single addresses and networks; a network with thousands of
 * flows takes several walks, as far apart.  What finds no room in the queue is left alone; connection tracking forgets it by itself.
 * Owns: its netlink socket.  Needs: CAP_NET_ADMIN.
 */
#ifndef POSTERN_FLOW_CLEANER_H
#define POSTERN_FLOW_CLEANER_H

#include "addr.h"
#include "err.h"
#include "kernel_sets.h"
#include "loop.h"

#define FLOW_CLEANER_MS 1000u
#define FLOW_CLEANER_LEAST_MS 500u /* of each client, so that its last reply finds its way before; who is younger is for the next walk */
#define FLOW_CLEANER_QUEUE 1024u

struct flow_cleaner;

/* Whose flows go on although they are in what is cut off. */
typedef bool (*flow_spared_fn)(void *ctx, const struct addr *client);

int flow_cleaner_create_prepriv(struct flow_cleaner **out, struct reason *why);
int flow_cleaner_start(struct flow_cleaner *cleaner, struct loop *loop, flow_spared_fn is_spared, void *ctx);

/* Behind flow_cleaner_start; done on a later turn of the loop. */
void flow_cleaner_add(struct flow_cleaner *cleaner, const struct kernel_element *clients);
void flow_cleaner_destroy(struct flow_cleaner **cleaner);

#endif
