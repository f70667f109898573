/* mark_value.h - VALUE or VALUE/MASK of packet marks, as iptables and nft write them: decimal, or hexadecimal behind 0x. */
#ifndef POSTERN_MARK_VALUE_H
#define POSTERN_MARK_VALUE_H

#include "conf.h"
#include "err.h"

/* The bits that are the administrator's; without a mask all of them are meant. */
#define MARK_FREE_BITS (~(CONF_OWN_MARK | CONF_TPROXY_MARK | CONF_QUEUE_MARKS))

struct mark_value {
	uint32_t bits, mask;
};

/* ERR_SYNTAX with what is wrong, also for bits outside of the mask and for bits that postern uses itself. */
int mark_value_parse(struct span text, struct mark_value *out, struct reason *why);

static inline bool mark_value_matches(const struct mark_value *value, uint32_t mark)
{
	return (mark & value->mask) == value->bits;
}

#endif
