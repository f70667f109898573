#include "token_bucket.h"

#define TOKEN 60000u /* milliseconds in the minute */

static uint64_t debt_now(const struct token_bucket *b, uint64_t per_minute, uint64_t now_ms)
{
	uint64_t past_ms = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
	/* Nothing is owed for longer than a minute; without that bound the product could run over. */
	if (per_minute == 0 || past_ms >= TOKEN || past_ms * per_minute >= b->debt)
		return 0;
	return b->debt - past_ms * per_minute;
}

bool token_bucket_take(struct token_bucket *b, uint64_t per_minute, uint64_t now_ms)
{
	if (per_minute == 0)
		return true;
	uint64_t debt = debt_now(b, per_minute, now_ms) + TOKEN;
	if (debt > per_minute * TOKEN)
		return false;
	*b = (struct token_bucket){ debt, now_ms };
	return true;
}

uint64_t token_bucket_left_ms(const struct token_bucket *b, uint64_t per_minute, uint64_t now_ms)
{
	uint64_t debt = debt_now(b, per_minute, now_ms);
	return debt ? (debt + per_minute - 1) / per_minute : 0;
}
