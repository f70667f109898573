#include "rules_closest.h"

#include <stdio.h>

/* How much two texts have in common at both ends. */
static size_t common_ends(struct span a, struct span b)
{
	size_t shorter = a.len < b.len ? a.len : b.len, front = 0, back = 0;
	while (front < shorter && span_lower(a.ptr[front]) == span_lower(b.ptr[front]))
		front++;
	while (back < shorter - front && span_lower(a.ptr[a.len - 1 - back]) == span_lower(b.ptr[b.len - 1 - back]))
		back++;
	return front + back;
}

/* The client's name where the pattern is about it and there is one, the text of the list otherwise. */
static struct span value_for(const struct pattern *p, const struct match *m, enum rules_list which, char text[ADDR_TEXT_CAP])
{
	const struct rules_client *client = &m->facts->client;
	if (which != RULES_LIST_SOURCE)
		return m->whole;
	if (p && p->kind == PATTERN_IFACE)
		return client->iface;
	if (p && p->kind == PATTERN_HELO)
		return client->helo;
	if (p && p->kind == PATTERN_MARK) {
		(void)snprintf(text, ADDR_TEXT_CAP, "0x%x", client->mark);
		return span_of(text);
	}
	if (p && p->kind == PATTERN_DST)
		return span_of(addr_format(&client->dst, text));
	if (p && (p->kind == PATTERN_HOST_GLOB || p->kind == PATTERN_HOST_REGEX)) {
		const struct fact *name = facts_find(m->facts, &(struct fact_key){ .kind = FACT_NAME });
		return name && name->state == FACT_PRESENT ? name->value.text : SPAN_LIT("no confirmed name");
	}
	return span_of(addr_format(&client->addr, text));
}

static void set_closest(const struct pattern *p, enum rules_list which, const struct match *m, struct rules_closest *out)
{
	char addr_text[ADDR_TEXT_CAP];
	struct span value = value_for(p, m, which, addr_text);
	out->pattern = p ? p->word : SPAN_NONE;
	(void)snprintf(out->value, sizeof out->value, "%.*s", SPAN_FMT(span_sub(value, 0, sizeof out->value - 1)));
}

static const struct pattern *find_match(const struct pattern_set *set, struct match *m)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (pattern_match(&set->items[i], m) == TRI_TRUE)
			return &set->items[i];
	return NULL;
}

static const struct pattern *find_near(const struct pattern_set *set, enum rules_list which, const struct match *m)
{
	const struct pattern *best = NULL;
	size_t best_common = 0;
	for (uint32_t i = 0; i < set->count; i++) {
		char addr_text[ADDR_TEXT_CAP];
		size_t common = common_ends(set->items[i].word, value_for(&set->items[i], m, which, addr_text));
		if (!best || common > best_common) {
			best = &set->items[i];
			best_common = common;
		}
	}
	return best;
}

void rules_closest_find(const struct rule_list *list, enum rules_list which, struct match *m, struct rules_closest *out)
{
	*out = (struct rules_closest){ .is_excepted = false };
	if (list->part_count == 0)
		return;
	const struct pattern *found = NULL;
	out->is_excepted = list->part_count > 1 && pattern_set_match(&list->parts[0], m) == TRI_TRUE;
	if (out->is_excepted)
		found = find_match(&list->parts[1], m);
	else
		found = find_near(&list->parts[0], which, m);
	set_closest(found, which, m, out);
}
