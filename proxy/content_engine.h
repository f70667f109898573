/* content_engine.h - one kind of check on content, as content_check.c runs it; content_engines.c lists them in their order.
 * A state belongs to one message; it is opened at DATA, where the rules ask for it.
 */
#ifndef POSTERN_CONTENT_ENGINE_H
#define POSTERN_CONTENT_ENGINE_H

#include "content_check.h"
#include "rules.h"

#define CONTENT_ENGINES_MAX 4

struct content_engine {
	enum verdict_need need;

	/* Can it judge at all?  Otherwise recipients whose rules ask for it get 451. */
	bool (*is_configured)(const struct session_host *host);

	int (*open)(struct content_check *check, struct session_host *host, uint64_t sid, void **state_out);

	/* The body as it streams, wire form, without our own Received field.  NULL: it does not care. */
	void (*push)(void *state, struct span wire);

	/* The message is complete: say content_engine_done once, now or later.  Both live until then, or until close. */
	void (*run)(void *state, const struct content_image *image, const struct spool_envelope *envelope);

	/* From here on nothing is said any more. */
	void (*close)(void *state);
};

extern const struct content_engine *const content_engines[]; /* NULL behind the last */

/* What content_check_use_milters gave. */
struct milter_talk *content_engine_milters(const struct content_check *check);

/* From within push: that is enough for now; and later: more may come. */
void content_engine_pause(struct content_check *check);
void content_engine_drained(struct content_check *check);

/* change: NULL when nothing was changed; its descriptor goes over in any case. */
void content_engine_done(struct content_check *check, const struct content_verdict *verdict, const struct content_change *change);

#endif
