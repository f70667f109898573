/* flow_cleaner.h - takes the flows of clients that were just cut off out of connection tracking: their packets are dropped in front of it, so
 * an entry of theirs would stay for days, and what they had open through this host would wait as long.
 * Each client costs a walk through the kernel's table: one at a time, at most one each FLOW_CLEANER_MS.  What finds no room in the queue is
 * left alone; connection tracking forgets it by itself.
 * Owns: its netlink socket.  Needs: CAP_NET_ADMIN.
 */
#ifndef POSTERN_FLOW_CLEANER_H
#define POSTERN_FLOW_CLEANER_H

#include "addr.h"
#include "err.h"
#include "loop.h"

#define FLOW_CLEANER_MS 200u
#define FLOW_CLEANER_QUEUE 256u

struct flow_cleaner;

int flow_cleaner_create_prepriv(struct flow_cleaner **out, struct reason *why);
int flow_cleaner_start(struct flow_cleaner *cleaner, struct loop *loop);

/* Behind flow_cleaner_start; done on a later turn of the loop. */
void flow_cleaner_add(struct flow_cleaner *cleaner, const struct addr *client);
void flow_cleaner_destroy(struct flow_cleaner **cleaner);

#endif
