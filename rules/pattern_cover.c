#include "pattern_cover.h"

#include "glob.h"

#define COMPARED_MAX 64u

/* A star of the narrow text can only be taken by a star of the wide one, so it stands for whatever it matches. */
static bool text_covers(const struct text_pattern *wide, const struct text_pattern *narrow)
{
	return !wide->regex && !narrow->regex && glob_match(wide->glob, narrow->glob);
}

static bool side_covers(const struct pattern_side *wide, const struct pattern_side *narrow)
{
	if (wide->kind == SIDE_ALL)
		return narrow->kind == SIDE_ALL || narrow->kind == SIDE_TEXT;
	return wide->kind == SIDE_TEXT && narrow->kind == SIDE_TEXT && text_covers(&wide->text, &narrow->text);
}

static bool cidr_covers(const struct cidr *wide, const struct cidr *narrow)
{
	return wide->bits <= narrow->bits && cidr_contains(wide, &narrow->addr);
}

static bool is_host_name(const struct pattern *p)
{
	return p->kind == PATTERN_HOST_GLOB || p->kind == PATTERN_HOST_REGEX;
}

bool pattern_covers(const struct pattern *wide, const struct pattern *narrow)
{
	if (wide->kind == PATTERN_ALL || (wide->kind == narrow->kind && span_eq(wide->word, narrow->word)))
		return true;
	if (wide->kind == PATTERN_KNOWN)
		return is_host_name(narrow);
	if (wide->kind != narrow->kind)
		return false;
	switch (wide->kind) {
	case PATTERN_CIDR:
	case PATTERN_DST: return cidr_covers(&wide->u.cidr, &narrow->u.cidr);
	case PATTERN_ADDR_GLOB:
	case PATTERN_HOST_GLOB:
	case PATTERN_ADDRESS_GLOB:
	case PATTERN_IFACE:
	case PATTERN_HELO: return text_covers(&wide->u.text, &narrow->u.text);
	case PATTERN_MARK:
		return (wide->u.mark.mask & ~narrow->u.mark.mask) == 0 && mark_value_matches(&wide->u.mark, narrow->u.mark.bits);
	case PATTERN_MAILBOX:
		return side_covers(&wide->u.pair->left, &narrow->u.pair->left) && side_covers(&wide->u.pair->right, &narrow->u.pair->right);
	default: return false;
	}
}

bool rule_list_covers(const struct rule_list *wide, const struct rule_list *narrow, uint64_t *compared)
{
	if (wide->part_count != 1 || narrow->part_count == 0)
		return false;
	const struct pattern_set *w = &wide->parts[0], *n = &narrow->parts[0];
	if (w->index || n->index || n->count > COMPARED_MAX || w->count > COMPARED_MAX)
		return false;
	for (uint32_t i = 0; i < n->count; i++) {
		bool is_covered = false;
		for (uint32_t k = 0; k < w->count && !is_covered; k++, (*compared)++)
			is_covered = pattern_covers(&w->items[k], &n->items[i]);
		if (!is_covered)
			return false;
	}
	return n->count > 0;
}
