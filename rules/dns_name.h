/* dns_name.h - names to ask the DNS for: reverse names, block list names, the next name up. */
#ifndef POSTERN_DNS_NAME_H
#define POSTERN_DNS_NAME_H

#include <stdbool.h>

#include "addr.h"
#include "dns_answer.h"
#include "span.h"

#define DNS_NAME_CAP (DNS_NAME_MAX + 1)

/* A name that we ask for: host name syntax (underscores too), at most DNS_NAME_MAX bytes, no last dot. */
bool dns_name_is_askable(struct span name);

/* 192.0.2.1 and "list.example" give "1.2.0.192.list.example"; IPv6 gives 32 nibbles (RFC 5782 sections 2.1 and 2.4, RFC 3596 section 2.5).
 * ERR_TOOLONG: no such name fits. */
int dns_name_reversed(const struct addr *addr, struct span zone, char out[DNS_NAME_CAP]);

/* The name under in-addr.arpa or ip6.arpa. */
int dns_name_of_addr(const struct addr *addr, char out[DNS_NAME_CAP]);

/* "SUBJECT.ZONE" */
int dns_name_below(struct span subject, struct span zone, char out[DNS_NAME_CAP]);

/* Without its first label.  False: the rest would be a single label, which is never asked for. */
bool dns_name_up(struct span *name);

#endif
