/* content_check.h - what a message must still pass before it is accepted: the checks that its recipients' rules ask for.
 * One for a message.  The body is pushed as it streams; at the end of data all of it is judged, by one engine after the other: the content filter, the
 * external checker, the milters.  A later one sees what an earlier one has changed; the first that does not let it pass decides.
 * Owns: what engines changed, until destroy.  Borrows: image and envelope of content_check_run until done was called or it is destroyed.
 * Calls back: done, once, on the loop, never before content_check_run has returned, and not after destroy.  Each engine has its own deadline.
 */
#ifndef POSTERN_CONTENT_CHECK_H
#define POSTERN_CONTENT_CHECK_H

#include "content_image.h"
#include "content_verdict.h"
#include "envelope.h"
#include "session_host.h"

struct content_check;

/* The first of the needs (enum verdict_need) that nothing is configured for; NULL: none. */
const char *content_check_missing(const struct session_host *host, uint32_t needs);

int content_check_create(struct session_host *host, uint64_t sid, uint32_t needs, struct content_check **out);

/* The filters that were told of its recipients (milter_talk.h): borrowed until destroy.  Before run, where NEED_MILTER is among the needs. */
struct milter_talk;
void content_check_use_milters(struct content_check *check, struct milter_talk *milters);

/* Bytes of the message in wire form, without our own Received field.  STEP_WAIT: no more, please, until drained is called, on the loop; what comes all the
 * same is taken.  content_check_run may be called meanwhile, and then drained is not. */
typedef void (*content_drained_fn)(void *ctx);
void content_check_on_drained(struct content_check *check, content_drained_fn drained, void *ctx);
enum step content_check_push(struct content_check *check, struct span wire);

struct content_result {
	const struct content_verdict *verdict;
	const struct content_image *changed;   /* NULL: the message is as it was */
	const struct spool_envelope *envelope; /* as it is now; hold is set if a milter wants that */
};

/* Everything in result lives until the check is destroyed, which done may do. */
typedef void (*content_checked_fn)(void *ctx, const struct content_result *result);
void content_check_run(struct content_check *check, const struct content_image *image, const struct spool_envelope *envelope, content_checked_fn done,
		       void *ctx);

/* Accepts NULL, clears the pointer. */
void content_check_destroy(struct content_check **check);

#endif
