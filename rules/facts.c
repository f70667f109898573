#include "facts.h"

#include <stdio.h>

#include "err.h"

/* Facts about the client stay for the session; whatever depends on an envelope goes with the transaction. */
static bool is_about_client(const struct fact_key *key)
{
	switch (key->kind) {
	case FACT_NAME:
	case FACT_IDENT:
	case FACT_NS_CLIENT: return true;
	case FACT_RBL: return key->subject.len == 0;
	case FACT_NS_DOMAIN:
	case FACT_RHS:
	case FACT_KIND_COUNT: break;
	}
	return false;
}

static const struct fact_table *table_of(const struct rules_facts *facts, const struct fact_key *key)
{
	return is_about_client(key) ? &facts->session : &facts->txn;
}

static bool key_eq(const struct fact_key *a, const struct fact_key *b)
{
	return a->kind == b->kind && span_eq_nocase(a->zone, b->zone) && span_eq_nocase(a->subject, b->subject);
}

const struct fact *facts_find(const struct rules_facts *facts, const struct fact_key *key)
{
	for (const struct fact *f = table_of(facts, key)->first; f; f = f->next)
		if (key_eq(&f->key, key))
			return f;
	return NULL;
}

const struct fact *facts_want(struct rules_facts *facts, const struct fact_key *key)
{
	const struct fact *known = facts_find(facts, key);
	struct fact_table *table = is_about_client(key) ? &facts->session : &facts->txn;
	if (known)
		return known;
	if (table->count >= FACTS_MAX || key->zone.len > FACT_TEXT_MAX || key->subject.len > FACT_TEXT_MAX)
		return NULL;
	struct fact *f = arena_alloc(&table->arena, sizeof *f);
	if (!f)
		return NULL;
	f->key.kind = key->kind;
	f->key.zone = arena_copy(&table->arena, key->zone);
	f->key.subject = arena_copy(&table->arena, key->subject);
	if (!f->key.zone.ptr || !f->key.subject.ptr)
		return NULL;
	f->id = ++facts->last_id;
	if (table->last)
		table->last->next = f;
	else
		table->first = f;
	table->last = f;
	table->count++;
	return f;
}

static const struct fact *next_unasked_in(const struct fact_table *table, uint64_t after_id)
{
	for (const struct fact *f = table->first; f; f = f->next)
		if (f->id > after_id && f->state == FACT_NOT_ASKED)
			return f;
	return NULL;
}

const struct fact *facts_next_unasked(const struct rules_facts *facts, uint64_t after_id)
{
	const struct fact *a = next_unasked_in(&facts->session, after_id);
	const struct fact *b = next_unasked_in(&facts->txn, after_id);
	if (!a || !b)
		return a ? a : b;
	return a->id < b->id ? a : b;
}

/* With the table it lives in, because its value goes into the same arena. */
static struct fact *by_id(const struct rules_facts *facts, uint64_t id, const struct fact_table **table_out)
{
	const struct fact_table *tables[] = { &facts->session, &facts->txn };
	for (size_t i = 0; i < 2; i++)
		for (struct fact *f = tables[i]->first; f; f = f->next)
			if (f->id == id) {
				*table_out = tables[i];
				return f;
			}
	return NULL;
}

const struct fact *facts_get(const struct rules_facts *facts, uint64_t id)
{
	const struct fact_table *table;
	return by_id(facts, id, &table);
}

static int open_fact(struct rules_facts *facts, uint64_t id, struct fact **fact_out, struct arena **arena_out)
{
	const struct fact_table *table = NULL;
	struct fact *f = by_id(facts, id, &table);
	if (!f)
		return ERR_NOTFOUND;
	if (f->state != FACT_NOT_ASKED && f->state != FACT_PENDING)
		return ERR_INVAL;
	*fact_out = f;
	*arena_out = table == &facts->session ? &facts->session.arena : &facts->txn.arena;
	return 0;
}

int facts_set_pending(struct rules_facts *facts, uint64_t id)
{
	struct fact *f;
	struct arena *arena;
	int err = open_fact(facts, id, &f, &arena);
	if (!err)
		f->state = FACT_PENDING;
	return err;
}

static struct span copy_capped(struct arena *arena, struct span text)
{
	return arena_copy(arena, span_sub(text, 0, FACT_TEXT_MAX));
}

static int copy_value(struct arena *arena, const struct fact_value *value, struct fact_value *out)
{
	struct fact_value v = { .exact = value->exact };
	v.text = copy_capped(arena, value->text);
	v.addr_count = value->addr_count < FACT_ADDRS_MAX ? value->addr_count : FACT_ADDRS_MAX;
	v.name_count = value->name_count < FACT_NAMES_MAX ? value->name_count : FACT_NAMES_MAX;
	struct addr *addrs = arena_alloc(arena, v.addr_count * sizeof *addrs);
	struct span *names = arena_alloc(arena, v.name_count * sizeof *names);
	if (!v.text.ptr || !addrs || !names)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < v.addr_count; i++)
		addrs[i] = value->addrs[i];
	for (uint32_t i = 0; i < v.name_count; i++) {
		names[i] = copy_capped(arena, value->names[i]);
		if (!names[i].ptr)
			return ERR_NOMEM;
	}
	v.addrs = addrs;
	v.names = names;
	*out = v;
	return 0;
}

int facts_settle_present(struct rules_facts *facts, uint64_t id, const struct fact_value *value)
{
	struct fact *f;
	struct arena *arena;
	int err = open_fact(facts, id, &f, &arena);
	if (err)
		return err;
	if (f->key.kind == FACT_NAME && facts_name_is_suspect(value->text))
		return facts_settle_absent(facts, id, SPAN_LIT("the name looks like an address"));
	/* A name too long for DNS is cut nowhere: a cut name could match what the whole one does not. */
	if (value->text.len > FACT_TEXT_MAX)
		return facts_settle_failed(facts, id, SPAN_LIT("answer too long"));
	err = copy_value(arena, value, &f->value);
	f->state = err ? FACT_FAILED : FACT_PRESENT;
	if (err)
		f->why = SPAN_LIT("no memory");
	return err;
}

static int settle_without(struct rules_facts *facts, uint64_t id, enum fact_state state, struct span why)
{
	struct fact *f;
	struct arena *arena;
	int err = open_fact(facts, id, &f, &arena);
	if (err)
		return err;
	f->state = state;
	f->why = copy_capped(arena, why);
	return 0;
}

int facts_settle_absent(struct rules_facts *facts, uint64_t id, struct span why)
{
	return settle_without(facts, id, FACT_ABSENT, why);
}

int facts_settle_failed(struct rules_facts *facts, uint64_t id, struct span why)
{
	return settle_without(facts, id, FACT_FAILED, why);
}

void facts_lend(struct rules_facts *facts, uint64_t id, enum fact_state state, const struct fact_value *value)
{
	const struct fact_table *table;
	struct fact *f = by_id(facts, id, &table);
	if (!f)
		return;
	f->state = state;
	f->value = *value;
}

void facts_fail_unasked(struct rules_facts *facts, const char *why)
{
	const struct fact *f;
	while ((f = facts_next_unasked(facts, 0)) != NULL)
		(void)facts_settle_failed(facts, f->id, span_of(why));
}

bool facts_name_is_suspect(struct span name)
{
	bool has_other = false;
	for (size_t i = 0; i < name.len; i++) {
		if (name.ptr[i] == ':')
			return true;
		if (name.ptr[i] != '.' && (name.ptr[i] < '0' || name.ptr[i] > '9'))
			has_other = true;
	}
	return !has_other;
}

const char *facts_kind_name(enum fact_kind kind)
{
	static const char *const names[FACT_KIND_COUNT] = { "name", "ident", "ns of client", "ns", "rbl", "rhs" };
	return (unsigned)kind < FACT_KIND_COUNT ? names[kind] : "?";
}

const char *facts_label(const struct fact_key *key, char text[FACT_LABEL_CAP])
{
	(void)snprintf(text, FACT_LABEL_CAP, "%s%s%.*s%s%.*s", facts_kind_name(key->kind), key->zone.len ? " " : "", SPAN_FMT(key->zone),
		       key->subject.len ? " " : "", SPAN_FMT(key->subject));
	return text;
}

static void table_clear(struct fact_table *table)
{
	arena_free(&table->arena);
	*table = (struct fact_table){ 0 };
}

void facts_reset_txn(struct rules_facts *facts)
{
	table_clear(&facts->txn);
}

void facts_free(struct rules_facts *facts)
{
	table_clear(&facts->session);
	table_clear(&facts->txn);
}
