#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns_name.h"
#include "fact_lookup.h"

/* The questions of a round on the way up; the last two only about the name itself. */
enum { ASK_NS, ASK_MX, ASK_A, ASK_AAAA };

struct state {
	bool waits_for_name; /* for FACT_NAME, whose name server are to be found */
	bool is_first;       /* the name itself, no label removed */
	bool is_exact;
	bool has_failed, has_address_failed;
	const char *why;
	char start[DNS_NAME_CAP];
	struct span name; /* in start: where we are */
	struct span names[FACT_NAMES_MAX];
	struct addr addrs[FACT_ADDRS_MAX];
	uint32_t name_count, addr_count;
};

static void keep_host(struct fact_lookup *lookup, struct span name)
{
	struct state *s = lookup->state;
	for (uint32_t i = 0; i < s->name_count; i++)
		if (span_eq(s->names[i], name))
			return;
	if (s->name_count == FACT_NAMES_MAX)
		return;
	struct span copy = arena_copy(&lookup->arena, name);
	if (copy.ptr)
		s->names[s->name_count++] = copy;
}

static void keep_addr(struct state *s, const struct addr *addr)
{
	for (uint32_t i = 0; i < s->addr_count; i++)
		if (addr_eq(&s->addrs[i], addr))
			return;
	if (s->addr_count < FACT_ADDRS_MAX)
		s->addrs[s->addr_count++] = *addr;
}

/* ---- the addresses of the hosts */

static void address_answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	(void)index;
	if (answer->status == DNS_FAILED) {
		s->has_failed = true;
		s->why = answer->why;
	}
	for (uint32_t i = 0; answer->status == DNS_FOUND && i < answer->count; i++)
		keep_addr(s, &answer->records[i].addr);
}

static void addresses_finished(void *ctx)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	/* Half of the addresses could make "no match" of a match. */
	if (s->has_failed) {
		fact_lookup_failed(lookup, "address of a name server or mail exchanger: %s", s->why);
		return;
	}
	fact_lookup_present(lookup, &(struct fact_value){ .addrs = s->addrs, .addr_count = s->addr_count, .names = s->names,
							  .name_count = s->name_count, .exact = s->is_exact });
}

static void ask_addresses(struct fact_lookup *lookup)
{
	struct state *s = lookup->state;
	int err = 0;
	fact_lookup_round(lookup, address_answered, addresses_finished);
	for (uint32_t i = 0; !err && i < s->name_count; i++) {
		err = dns_batch_ask(&lookup->batch, s->names[i], DNS_A);
		if (!err)
			err = dns_batch_ask(&lookup->batch, s->names[i], DNS_AAAA);
	}
	if (err)
		fact_lookup_failed(lookup, "no memory");
}

/* ---- the way up, until a name has NS or MX records */

/* In order of their names, so that a rotated answer with too many of them gives the same ones. */
static int compare_records(const void *a, const void *b)
{
	const struct span x = (*(const struct dns_record *const *)a)->text, y = (*(const struct dns_record *const *)b)->text;
	int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
	return order ? order : (x.len > y.len) - (x.len < y.len);
}

static void keep_hosts(struct fact_lookup *lookup, const struct dns_answer *answer)
{
	const struct dns_record *sorted[DNS_RECORDS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < answer->count && count < DNS_RECORDS_MAX; i++)
		if (answer->records[i].is_host)
			sorted[count++] = &answer->records[i];
	qsort(sorted, count, sizeof sorted[0], compare_records);
	for (uint32_t i = 0; i < count; i++)
		keep_host(lookup, sorted[i]->text);
}

static void level_answered(void *ctx, size_t index, const struct dns_answer *answer)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	bool is_address = index == ASK_A || index == ASK_AAAA;
	if (answer->status == DNS_FAILED) {
		*(is_address ? &s->has_address_failed : &s->has_failed) = true;
		s->why = answer->why;
	} else if (answer->status == DNS_FOUND) {
		s->is_exact |= s->is_first;
		if (!is_address)
			keep_hosts(lookup, answer);
	}
}

static void ask_level(struct fact_lookup *lookup);

static void level_finished(void *ctx)
{
	struct fact_lookup *lookup = ctx;
	struct state *s = lookup->state;
	if (s->has_failed || (s->has_address_failed && !s->is_exact)) {
		fact_lookup_failed(lookup, "%.*s: %s", SPAN_FMT(s->name), s->why);
		return;
	}
	s->is_first = false;
	if (s->name_count)
		ask_addresses(lookup);
	else if (dns_name_up(&s->name))
		ask_level(lookup);
	else if (s->is_exact) /* an address, and no host anywhere: nothing to compare with, but KNOWN */
		fact_lookup_present(lookup, &(struct fact_value){ .exact = true });
	else
		fact_lookup_absent(lookup, SPAN_LIT("no name servers or mail exchangers"));
}

static void ask_level(struct fact_lookup *lookup)
{
	static const enum dns_type types[] = { [ASK_NS] = DNS_NS, [ASK_MX] = DNS_MX, [ASK_A] = DNS_A, [ASK_AAAA] = DNS_AAAA };
	struct state *s = lookup->state;
	int err = 0;
	fact_lookup_round(lookup, level_answered, level_finished);
	for (size_t i = 0; !err && i < (s->is_first ? 4u : 2u); i++)
		err = dns_batch_ask(&lookup->batch, s->name, types[i]);
	if (err)
		fact_lookup_failed(lookup, "no memory");
}

static void go_up_from(struct fact_lookup *lookup, struct span name)
{
	struct state *s = lookup->state;
	if (!dns_name_is_askable(name) || span_find(name, '.', 0) == name.len) {
		fact_lookup_absent(lookup, SPAN_LIT("no name to ask for"));
		return;
	}
	if (name.ptr != s->start)
		(void)snprintf(s->start, sizeof s->start, "%.*s", SPAN_FMT(name));
	s->name = span_of(s->start);
	s->is_first = true;
	ask_level(lookup);
}

/* ---- the beginning: of the client's name, its reverse name when it has none */

static void start_client(struct fact_lookup *lookup)
{
	struct state *s = lookup->state;
	struct rules_facts *facts = lookup->finder->facts;
	const struct fact *name = facts_want(facts, &(struct fact_key){ .kind = FACT_NAME });
	if (!name)
		fact_lookup_failed(lookup, "too many facts");
	else if (name->state == FACT_FAILED)
		fact_lookup_failed(lookup, "%.*s", SPAN_FMT(name->why));
	else if (name->state == FACT_PRESENT)
		go_up_from(lookup, name->value.text);
	else if (name->state != FACT_ABSENT)
		s->waits_for_name = true;
	else if (dns_name_of_addr(&facts->client.addr, s->start) == 0)
		go_up_from(lookup, span_of(s->start));
	else
		fact_lookup_failed(lookup, "no address");
}

static void start(struct fact_lookup *lookup)
{
	lookup->state = arena_alloc(&lookup->arena, sizeof(struct state));
	if (!lookup->state)
		fact_lookup_failed(lookup, "no memory");
	else if (lookup->key.kind == FACT_NS_CLIENT)
		start_client(lookup);
	else
		go_up_from(lookup, lookup->key.subject);
}

static void wake(struct fact_lookup *lookup)
{
	struct state *s = lookup->state;
	if (!s->waits_for_name)
		return;
	s->waits_for_name = false;
	start_client(lookup);
}

const struct fact_lookup_kind fact_lookup_hosts = { .start = start, .wake = wake };
