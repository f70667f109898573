/* dns_shares.h - how much of the room for questions that are under way each client may have.
 * Promise: a client may take one more while it has less than a DNS_SHARE_PARTth of what is still free.  So one that fills its share (with
 * domains whose name servers are dead, say) makes only its own questions fail, and one alone has more than one in a crowd.  Some 25 clients that
 * take all they can at once leave the next one 20 and more; as theirs end they get no more than others any longer, so that shares even out.
 * A fixed share is either too small for one that is alone, or lets a few clients fill the room.
 * A client is an IPv4 address or an IPv6 /64 (addr_client); ADDR_NONE, for questions of our own, counts as one.
 * Owns: a struct for each client that has a question under way, no longer.  Limits: room questions in all.
 */
#ifndef POSTERN_DNS_SHARES_H
#define POSTERN_DNS_SHARES_H

#include <stddef.h>

#include "addr.h"

#define DNS_SHARE_PART 8u
#define DNS_SHARES_BUCKETS 256u

struct dns_share;

struct dns_shares {
	size_t room;  /* the caller's to set, before the first question */
	size_t taken; /* to read: questions under way, of all clients */
	struct dns_share *buckets[DNS_SHARES_BUCKETS];
};

/* One more question.  ERR_BUSY: the client has its share already; ERR_NOMEM. */
int dns_shares_take(struct dns_shares *all, const struct addr *client, struct dns_share **out);

/* That question has ended.  Clears the pointer; NULL does nothing. */
void dns_shares_give_back(struct dns_shares *all, struct dns_share **share);

#endif
