#include "fact_lookup.h"
#include "ident.h"

struct state {
	struct ident *ident;
};

static void done(void *ctx, enum ident_result result, struct span user)
{
	struct fact_lookup *lookup = ctx;
	if (result == IDENT_USER)
		fact_lookup_present(lookup, &(struct fact_value){ .text = user });
	else if (result == IDENT_NOBODY)
		fact_lookup_absent(lookup, SPAN_LIT("no ident answer"));
	else
		fact_lookup_failed(lookup, "time-out");
}

static void start(struct fact_lookup *lookup)
{
	const struct fact_finder *finder = lookup->finder;
	const struct ident_question question = {
		.client = finder->facts->client.addr,
		.client_port = finder->client_port,
		.our_port = finder->dst_port,
		.timeout_ms = fact_lookup_ident_timeout(lookup),
		.opener = finder->hooks->opener,
		.opener_ctx = finder->ctx,
		.stats = fact_lookup_ident_stats(lookup),
	};
	struct state *s = arena_alloc(&lookup->arena, sizeof *s);
	lookup->state = s;
	if (question.timeout_ms == 0 || finder->client_port == 0)
		fact_lookup_absent(lookup, SPAN_LIT("ident is not asked"));
	else if (!s || ident_start(fact_lookup_loop(lookup), &question, done, lookup, &s->ident))
		fact_lookup_failed(lookup, "no memory");
}

static void cancel(struct fact_lookup *lookup)
{
	struct state *s = lookup->state;
	if (s)
		ident_cancel(&s->ident);
}

const struct fact_lookup_kind fact_lookup_ident = { .has_own_deadline = true, .start = start, .cancel = cancel };
