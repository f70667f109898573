/* The plain linear evaluator of rules_world.h.  Slow, recursive and simple on purpose: it shares no code with rules/ but the address
 * and facts structs, and understands the patterns that test_rules_random.c makes up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rules_world.h"

struct ask {
	const struct world *world;
	const struct rules_client *client;
	const char *address; /* NULL: the source list */
};

enum truth { NO = 0, MAYBE = 1, YES = 2 };

static enum truth wild(const char *pattern, const char *text)
{
	if (*pattern == '\0')
		return *text ? NO : YES;
	if (*pattern == '*')
		return wild(pattern + 1, text) == YES || (*text && wild(pattern, text + 1) == YES) ? YES : NO;
	return *text && strncasecmp(pattern, text, 1) == 0 ? wild(pattern + 1, text + 1) : NO;
}

static enum truth answer(enum world_answer a, enum truth if_present, enum truth if_absent)
{
	return a == WORLD_FAILED ? MAYBE : a == WORLD_PRESENT ? if_present : if_absent;
}

static enum truth both(enum truth a, enum truth b)
{
	return a < b ? a : b;
}

static enum truth net(const char *pattern, const struct rules_client *client)
{
	unsigned a, b, c, d, bits;
	if (sscanf(pattern, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &bits) != 5)
		return NO;
	const uint8_t *x = client->addr.bytes;
	uint32_t have = (uint32_t)x[0] << 24 | (uint32_t)x[1] << 16 | (uint32_t)x[2] << 8 | x[3];
	uint32_t mask = bits ? UINT32_MAX << (32 - bits) : 0;
	return client->addr.family == ADDR_V4 && (have & mask) == ((a << 24 | b << 16 | c << 8 | d) & mask) ? YES : NO;
}

static enum truth host(const char *p, const struct ask *q)
{
	const struct world *w = q->world;
	if (strcmp(p, "ALL") == 0)
		return YES;
	if (strcmp(p, "KNOWN") == 0)
		return answer(w->name, YES, NO);
	if (strcmp(p, "UNKNOWN") == 0)
		return answer(w->name, NO, YES);
	if (strcmp(p, "TRUSTED") == 0)
		return q->client->trusted ? YES : NO;
	if (strcmp(p, "UNTRUSTED") == 0)
		return q->client->trusted ? NO : YES;
	if (strncmp(p, "RBL.", 4) == 0)
		return answer(world_listed(w, FACT_RBL, span_of(p + 4), SPAN_NONE), YES, NO);
	if (strchr(p, '/'))
		return net(p, q->client);
	return answer(w->name, wild(p, w->name_text), NO);
}

static enum truth source_word(const char *p, const struct ask *q)
{
	const char *at = strrchr(p, '@');
	if (!at)
		return host(p, q);
	enum truth user = answer(q->world->ident, YES, NO);
	if (strncmp(p, "ALL@", 4) == 0)
		user = YES;
	else if (strncmp(p, "KNOWN@", 6) != 0) {
		char left[64];
		(void)snprintf(left, sizeof left, "%.*s", (int)(at - p), p);
		user = answer(q->world->ident, wild(left, q->world->ident_text), NO);
	}
	return both(user, host(at + 1, q));
}

static enum truth address_word(const char *p, const struct ask *q)
{
	const char *at = strrchr(q->address, '@'), *p_at = strrchr(p, '@');
	char left[64], p_left[64];
	if (strcmp(p, "ALL") == 0)
		return YES;
	if (strcmp(p, "<>") == 0)
		return q->address[0] ? NO : YES;
	if (strncmp(p, "RHS.", 4) == 0)
		return at ? answer(world_listed(q->world, FACT_RHS, span_of(p + 4), span_of(at + 1)), YES, NO) : NO;
	if (!p_at)
		return wild(p, q->address);
	if (!at)
		return NO;
	(void)snprintf(left, sizeof left, "%.*s", (int)(at - q->address), q->address);
	(void)snprintf(p_left, sizeof p_left, "%.*s", (int)(p_at - p), p);
	enum truth right = strcmp(p_at + 1, "ALL") == 0 ? YES : wild(p_at + 1, at + 1);
	if (strcmp(p_left, "USER") == 0)
		return both(right, answer(q->world->ident, strcasecmp(q->world->ident_text, left) == 0 ? YES : NO, NO));
	return both(right, strcmp(p_left, "ALL") == 0 ? YES : wild(p_left, left));
}

/* words ends with NULL. */
static enum truth list(char **words, const struct ask *q)
{
	enum truth here = NO;
	for (; *words && strcmp(*words, "EXCEPT") != 0; words++) {
		enum truth one = q->address ? address_word(*words, q) : source_word(*words, q);
		here = one > here ? one : here;
	}
	return *words ? both(here, (enum truth)(YES - list(words + 1, q))) : here;
}

static enum truth field(char *text, const struct ask *q)
{
	char *words[64], *save;
	size_t n = 0;
	for (char *w = strtok_r(text, " ", &save); w && n < 63; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	words[n] = NULL;
	return list(words, q);
}

static enum truth judge_line(char *line, const struct world *world, const struct rules_client *client, const char *from, const char *to)
{
	struct ask q = { world, client, NULL };
	char *save, *fields[4];
	fields[0] = strtok_r(line, ":", &save);
	for (int i = 1; i < 4; i++)
		fields[i] = strtok_r(NULL, ":", &save);
	enum truth result = field(fields[1], &q);
	q.address = from;
	result = both(result, field(fields[2], &q));
	q.address = to;
	return both(result, field(fields[3], &q));
}

enum verdict_kind ref_judge(const char *text, const struct rules_options *options, const struct world *world,
			    const struct rules_client *client, const char *from, const char *to, unsigned *line_out)
{
	char *copy = strdup(text), *save;
	char outcome[32] = "", hanging[32] = "";
	unsigned n = 0, hanging_line = 0;
	enum verdict_kind kind = VERDICT_TEMPFAIL;
	*line_out = 0;
	(void)snprintf(outcome, sizeof outcome, "%s", options->no_match == NO_MATCH_ALLOW ? "allow" : "noto");
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		n++;
		enum truth t = judge_line(line, world, client, from, to);
		if (strcmp(line, "debug") == 0 || t == NO || (t == MAYBE && options->on_unknown == ON_UNKNOWN_SKIP))
			continue;
		if (t == MAYBE && !hanging_line) {
			hanging_line = n;
			(void)snprintf(hanging, sizeof hanging, "%s", line);
		}
		if (t == MAYBE && strcmp(hanging, line) == 0)
			continue;
		if (t == YES)
			*line_out = n;
		(void)snprintf(outcome, sizeof outcome, "%s", line);
		break;
	}
	if (hanging_line && strcmp(hanging, outcome) != 0)
		*line_out = hanging_line;
	else if (outcome[0] == 'a')
		kind = VERDICT_ALLOW;
	else
		kind = outcome[0] == 'd' ? VERDICT_DENY : VERDICT_NOTO;
	free(copy);
	return kind;
}
