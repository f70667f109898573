/* token_bucket.h - so many a minute, and as many at once: a rate that forgives a burst.
 * Kept as a debt that shrinks with time: a bucket that owes nothing is the same as one that was never made, so it can be forgotten.
 * A whole bucket comes back within a minute, whatever its size.  Pure; per_minute is at most TOKEN_BUCKET_RATE_MAX, 0: no limit.
 */
#ifndef POSTERN_TOKEN_BUCKET_H
#define POSTERN_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_BUCKET_RATE_MAX 1000000u

struct token_bucket {
	uint64_t debt;  /* tokens taken, times 60,000: each millisecond gives per_minute back */
	uint64_t at_ms; /* when that was so */
};

/* Take one; false: there is none, and nothing was taken. */
bool token_bucket_take(struct token_bucket *b, uint64_t per_minute, uint64_t now_ms);

/* Until it owes nothing any more; 0: it does not owe. */
uint64_t token_bucket_left_ms(const struct token_bucket *b, uint64_t per_minute, uint64_t now_ms);

#endif
