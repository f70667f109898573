/* listeners_watch.h - looks every two seconds whether the interfaces that listeners are bound to are still the ones of that name.
 * A socket is bound to the index of its interface: when that is removed and made anew (ppp, a VLAN, a tunnel), it hears nothing
 * any more, and what is diverted would be refused until a restart.  Such a group is opened anew, and its owner told.
 * Borrows: loop, listeners and conf (the master changes it at a reload, but not its listen sections).
 */
#ifndef POSTERN_LISTENERS_WATCH_H
#define POSTERN_LISTENERS_WATCH_H

#include "listeners.h"
#include "loop.h"

struct listeners_watch;

/* Each member of the group is to be given to its worker. */
typedef void (*listeners_reopened_fn)(void *ctx, const struct listener_group *group);

int listeners_watch_create(struct loop *loop, struct listeners *listeners, const struct conf *conf, listeners_reopened_fn reopened, void *ctx,
			   struct listeners_watch **out);
void listeners_watch_destroy(struct listeners_watch **watch);

#endif
