/* sender_domain.h - can mail be sent back to this domain?  (check-sender-domain)
 * Asks for MX, A and AAAA at once.  Promise: done is called once, on a later turn of the loop, within deadline_ms, unless cancelled.
 */
#ifndef POSTERN_SENDER_DOMAIN_H
#define POSTERN_SENDER_DOMAIN_H

#include <stdint.h>

#include "dns_source.h"
#include "loop.h"

enum sender_domain_result {
	SENDER_DOMAIN_OK,
	SENDER_DOMAIN_NONE,    /* no MX, A or AAAA record */
	SENDER_DOMAIN_NULL_MX, /* says that it takes no mail (RFC 7505) */
	SENDER_DOMAIN_UNKNOWN  /* not known now: passes */
};

struct sender_domain;
typedef void (*sender_domain_fn)(void *ctx, enum sender_domain_result result);

/* client: as in dns_source.h.  ERR_NOMEM. */
int sender_domain_start(struct loop *loop, const struct dns_source *source, const struct addr *client, struct span domain,
			uint64_t deadline_ms, sender_domain_fn done, void *ctx, struct sender_domain **out);

/* Also to give it back behind done.  Accepts NULL, clears the pointer. */
void sender_domain_cancel(struct sender_domain **check);

#endif
