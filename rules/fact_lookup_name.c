#include <string.h>

#include "dns_name.h"
#include "fact_lookup.h"

#define NAMES_MAX 5u

enum candidate_state { CANDIDATE_OTHER, CANDIDATE_CONFIRMED, CANDIDATE_UNKNOWN };

/* The names of the PTR records, the first NAMES_MAX in alphabetical order: servers rotate records, and the same client shall have the same
 * name every time. */
struct state {
	uint32_t count;
	struct span names[NAMES_MAX];
	enum candidate_state found[NAMES_MAX];
	const char *why;
	bool has_failed;
};

static int compare(struct span a, struct span b)
{
	int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void keep_name(struct fact_lookup *lookup, struct state *s, struct span name)
{
	uint32_t at = s->count;
	while (at > 0 && compare(name, s->names[at - 1]) < 0)
		at--;
	if (at == NAMES_MAX || (at > 0 && span_eq(name, s->names[at - 1])))
		return;
	struct span copy = arena_copy(&lookup->arena, name);
	if (!copy.ptr)
		return;
	uint32_t last = s->count < NAMES_MAX ? s->count++ : NAMES_MAX - 1;
	memmove(&s->names[at + 1], &s->names[at], (last - at) * sizeof s->names[0]);
	s->names[at] = copy;
}

static void reverse_answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	(void)index;
	if (answer->status == DNS_FAILED) {
		s->has_failed = true;
		s->why = answer->why;
	}
	for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->count; i++) {
		struct span name = answer->records[i].text;
		/* What looks like an address, and what is no host name at all, is never asked for and never compared. */
		if (name.len && facts_name_is_suspect(name))
			fact_lookup_note(lookup, FACT_NOTE_ATTACK, name);
		else if (answer->records[i].is_host)
			keep_name(lookup, s, name);
	}
}

static void forward_answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	if (answer->status == DNS_FAILED) {
		s->found[index] = CANDIDATE_UNKNOWN;
		s->why = answer->why;
	}
	for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->count; i++)
		if (addr_eq(&answer->records[i].addr, &lookup->finder->facts->client.addr))
			s->found[index] = CANDIDATE_CONFIRMED;
}

/* The first confirmed name, unless one before it might be: which name counts must not hang on a lost packet. */
static void forward_finished(void *ctx)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	for (uint32_t i = 0; i < s->count; i++) {
		if (s->found[i] == CANDIDATE_UNKNOWN) {
			fact_lookup_failed(lookup, "address of %.*s: %s", SPAN_FMT(s->names[i]), s->why);
			return;
		}
		if (s->found[i] == CANDIDATE_CONFIRMED) {
			fact_lookup_present(lookup, &(struct fact_value){ .text = s->names[i] });
			return;
		}
	}
	fact_lookup_note(lookup, FACT_NOTE_SPOOF, s->names[0]);
	fact_lookup_absent(lookup, SPAN_LIT("the name does not resolve back to the client"));
}

static void reverse_finished(void *ctx)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	if (s->has_failed) {
		fact_lookup_failed(lookup, "reverse name: %s", s->why);
		return;
	}
	if (s->count == 0) {
		fact_lookup_absent(lookup, SPAN_LIT("no reverse name"));
		return;
	}
	fact_lookup_round(lookup, forward_answered, forward_finished);
	for (uint32_t i = 0; i < s->count; i++)
		if (dns_batch_ask(&lookup->batch, s->names[i], lookup->finder->facts->client.addr.family == ADDR_V4 ? DNS_A : DNS_AAAA)) {
			fact_lookup_failed(lookup, "no memory");
			return;
		}
}

static void start(struct fact_lookup *lookup)
{
	char name[DNS_NAME_CAP];
	lookup->state = arena_alloc(&lookup->arena, sizeof(struct state));
	fact_lookup_round(lookup, reverse_answered, reverse_finished);
	if (!lookup->state || dns_name_of_addr(&lookup->finder->facts->client.addr, name) || dns_batch_ask(&lookup->batch, span_of(name), DNS_PTR))
		fact_lookup_failed(lookup, "no memory");
}

const struct fact_lookup_kind fact_lookup_name = { .start = start };
