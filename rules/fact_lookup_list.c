#include "dns_name.h"
#include "fact_lookup.h"

/* What the list said, kept until the round is over. */
struct state {
	enum dns_status status;
	const char *why;
	struct addr *addrs;
	uint32_t addr_count, error_count, ttl_s;
};

static void answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	(void)index;
	s->status = answer->status;
	s->why = answer->why;
	s->ttl_s = answer->ttl_s;
	if (answer->status != DNS_FOUND)
		return;
	s->addrs = arena_alloc(&lookup->arena, answer->count * sizeof *s->addrs);
	if (!s->addrs) {
		s->status = DNS_FAILED;
		s->why = "no memory";
		return;
	}
	for (uint32_t i = 0; i < answer->count; i++) {
		s->addrs[s->addr_count++] = answer->records[i].addr;
		s->error_count += list_answer_is_error(&answer->records[i].addr);
	}
}

static void finished(void *ctx)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	bool is_about_client = lookup->key.kind == FACT_RBL && lookup->key.subject.len == 0;
	if (s->error_count)
		fact_lookup_count_list_error(lookup);
	if (is_about_client && s->status != DNS_FAILED && s->error_count == 0)
		fact_lookup_tell_listed(lookup, s->addrs, s->addr_count, s->ttl_s);
	if (s->status == DNS_FAILED)
		fact_lookup_failed(lookup, "%s", s->why);
	else if (s->status != DNS_FOUND)
		fact_lookup_absent(lookup, SPAN_LIT("not listed"));
	else if (s->error_count == s->addr_count)
		fact_lookup_failed(lookup, "the list answers with an error");
	else
		fact_lookup_present(lookup, &(struct fact_value){ .addrs = s->addrs, .addr_count = s->addr_count });
}

/* The name under which the list has the subject.  ERR_* when there can be none. */
static int listed_name(const struct fact_lookup *lookup, char name[DNS_NAME_CAP])
{
	const struct fact_key *key = &lookup->key;
	struct addr addr = lookup->finder->facts->client.addr;
	if (key->kind == FACT_RHS)
		return dns_name_below(key->subject, key->zone, name);
	int err = key->subject.len ? addr_parse(key->subject, &addr) : 0;
	return err ? err : dns_name_reversed(&addr, key->zone, name);
}

static void start(struct fact_lookup *lookup)
{
	char name[DNS_NAME_CAP];
	lookup->state = arena_alloc(&lookup->arena, sizeof(struct state));
	if (!lookup->state) {
		fact_lookup_failed(lookup, "no memory");
		return;
	}
	if (lookup->key.kind == FACT_RBL) {
		list_health_watch(fact_lookup_health(lookup), lookup->key.zone);
		if (list_health_is_broken(fact_lookup_health(lookup), lookup->key.zone)) {
			fact_lookup_failed(lookup, "the list is broken");
			return;
		}
	}
	/* A domain that is no host name, or too long to stand in front of the zone, can be in no list. */
	if (listed_name(lookup, name) || !dns_name_is_askable(span_of(name))) {
		fact_lookup_absent(lookup, SPAN_LIT("no name that could be listed"));
		return;
	}
	fact_lookup_round(lookup, answered, finished);
	if (dns_batch_ask(&lookup->batch, span_of(name), DNS_A))
		fact_lookup_failed(lookup, "no memory");
}

const struct fact_lookup_kind fact_lookup_list = { .start = start };
