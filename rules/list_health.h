/* list_health.h - does a block list still do what a block list does?  (RFC 5782 section 5)
 * A list of addresses must list 127.0.0.2 (or ::FFFF:7F00:2) and must not list 127.0.0.1 (or ::FFFF:7F00:1).  One that was given up answers
 * nothing any more, or yes to everything: it is switched off, and on again when it passes.  Probed when it is first watched, then every
 * interval; a broken one twelve times as often.  A probe that gets no answer changes nothing.
 * Says each change once, in the log.
 */
#ifndef POSTERN_LIST_HEALTH_H
#define POSTERN_LIST_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "dns_source.h"
#include "loop.h"
#include "span.h"

struct list_health;

int list_health_create(struct loop *loop, const struct dns_source *source, struct list_health **out);

/* 0: nothing is probed and every list is believed. */
void list_health_set_interval(struct list_health *health, uint64_t interval_ms);

/* Starts to watch a zone that is not watched yet. */
void list_health_watch(struct list_health *health, struct span zone);

/* Between these two, watch says what is still wanted; the others are forgotten. */
void list_health_begin_update(struct list_health *health);
void list_health_end_update(struct list_health *health);

/* broken(ctx, zone) each time that a probe says so, not only when it changes. */
void list_health_on_broken(struct list_health *health, void (*broken)(void *ctx, struct span zone), void *ctx);

bool list_health_is_broken(const struct list_health *health, struct span zone);

/* Proper answers are in 127/8, but not in 127.255.255/24, where lists say "you may not ask". */
bool list_answer_is_error(const struct addr *answer);

void list_health_destroy(struct list_health **health);

#endif
