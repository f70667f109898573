/* local_addrs.h - the addresses of this host: the loop guard asks whether a connection was meant for ourselves.
 * A snapshot without pointers, which the master takes and sends to the workers; taken again at every reload and every few seconds.
 */
#ifndef POSTERN_LOCAL_ADDRS_H
#define POSTERN_LOCAL_ADDRS_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

#define LOCAL_ADDRS_MAX 256

struct local_addrs {
	uint32_t count;
	struct addr addrs[LOCAL_ADDRS_MAX]; /* a host with more has the rest unguarded; is_cut says so */
	bool is_cut;
};

int local_addrs_read(struct local_addrs *out);
bool local_addrs_eq(const struct local_addrs *a, const struct local_addrs *b); /* the same, in the same order */
bool local_addrs_has(const struct local_addrs *set, const struct addr *a);

#endif
