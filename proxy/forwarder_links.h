/* forwarder_links.h - each worker's connection to posternfwd, made by the master as soon as posternfwd is there, and again
 * when it is lost.
 * The first word on a connection is the master's: posternfwd believes no worker about another's segments.
 * Borrows: spool (a path) and the crew, until destroy.  Fails: never for the caller; who is not there is tried again each second.
 */
#ifndef POSTERN_FORWARDER_LINKS_H
#define POSTERN_FORWARDER_LINKS_H

#include "worker_crew.h"

struct forwarder_links;

int forwarder_links_create(struct loop *loop, const char *spool, struct worker_crew *crew, struct forwarder_links **out);

/* Nothing is connected before the first start; again when a worker has become ready. */
void forwarder_links_start(struct forwarder_links *links);

/* No more connections from here on. */
void forwarder_links_stop(struct forwarder_links *links);

/* This worker is a new process, which has none. */
void forwarder_links_forget(struct forwarder_links *links, uint32_t worker);

/* This worker says that its connection is gone. */
void forwarder_links_lost(struct forwarder_links *links, uint32_t worker);

bool forwarder_links_has(const struct forwarder_links *links, uint32_t worker);

void forwarder_links_destroy(struct forwarder_links **links);

#endif
