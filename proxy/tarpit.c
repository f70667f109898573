#include "tarpit.h"

uint64_t tarpit_hold_ms(struct tarpit *pit, const struct tarpit_options *options, uint64_t now_ms)
{
	uint64_t delay_ms = pit->delay_ms ? pit->delay_ms : options->delay_ms;
	/* By division: the product of two options from the file may be larger than any time. */
	if (pit->delay_ms)
		delay_ms = options->multiplier && delay_ms > options->max_ms / options->multiplier ? options->max_ms : delay_ms * options->multiplier;
	if (delay_ms > options->max_ms)
		delay_ms = options->max_ms;
	uint64_t from_ms = pit->until_ms > now_ms ? pit->until_ms : now_ms;
	pit->delay_ms = (uint32_t)delay_ms;
	pit->until_ms = from_ms + delay_ms;
	return pit->until_ms - now_ms;
}
