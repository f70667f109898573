/* milter_opening.h - one connection to a filter, from somebody else who may open it: asked for again a moment later where there are too many at once,
 * for the filter's queue or for ours, and given up at its time.
 * One at a time.  A zeroed struct is valid to free.  Calls back: done, once for each start, perhaps from inside start; not after cancel.
 */
#ifndef POSTERN_MILTER_OPENING_H
#define POSTERN_MILTER_OPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "loop.h"

struct milter_opener {
	/* 0: milter_opening_take will be called with fd or an error, never before this returns.  ERR_AGAIN, here or there: too many at once. */
	int (*open)(void *ctx, size_t peer);
	void (*cancel)(void *ctx);
};

/* err 0: fd goes over to the receiver. */
typedef void (*milter_opening_fn)(void *ctx, int err, int fd);

struct milter_opening {
	struct loop *loop;
	struct loop_timer *timer;
	const struct milter_opener *opener;
	void *opener_ctx;
	milter_opening_fn done;
	void *ctx;
	size_t peer;
	uint64_t until_ms; /* to be begun before */
	bool is_asked;     /* the opener */
};

int milter_opening_init(struct milter_opening *opening, struct loop *loop, const struct milter_opener *opener, void *opener_ctx, milter_opening_fn done,
			void *ctx);
void milter_opening_start(struct milter_opening *opening, size_t peer, uint64_t limit_ms);

/* The opener's answer. */
void milter_opening_take(struct milter_opening *opening, int err, int fd);

/* Also where nothing is under way. */
void milter_opening_cancel(struct milter_opening *opening);
void milter_opening_free(struct milter_opening *opening);

#endif
