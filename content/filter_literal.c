#include "filter_literal.h"

#include <stdlib.h>

#include "bre.h"
#include "filter_fold.h"

/* Characters that a bracket may stand for before it counts as anything. */
#define SET_MAX 4u

/* What is known of a part of the expression.  Each of its two lists may be empty (count 0): nothing known. */
struct part {
	struct filter_literals whole;  /* it matches these texts and no others */
	struct filter_literals demand; /* in everything it matches is one of these */
};

static struct part unknown(void)
{
	return (struct part){ .whole = { .count = 0 } };
}

static struct part of_nothing(void)
{
	return (struct part){ .whole = { .count = 1 } };
}

unsigned filter_literal_rarity(char c)
{
	/* The 26 letters by their frequency in English, from 1. */
	static const uint8_t letters[26] = { 2, 6, 4, 4, 1, 5, 5, 4, 2, 9, 7, 3, 4, 2, 2, 5, 9, 2, 2, 1, 4, 7, 6, 8, 6, 9 };
	if (c >= 'a' && c <= 'z')
		return letters[c - 'a'];
	if (c == ' ' || c == '-' || c == '=' || c == '<' || c == '>' || c == ':')
		return 2;
	if (c >= '0' && c <= '9')
		return 5;
	return 6;
}

/* Words that nearly every message has, whatever their letters: each counts as one letter. */
static size_t common_word_at(const struct filter_literal *l, size_t at)
{
	static const char *const words[] = { "subject:", "from:", "to:", "cc:", "date:", "received:", "return-path:", "reply-to:", "message-id:", "x-mailer:",
					     "from ", "by ", "content-type:", "content-", "charset", "multipart", "text/", "html", "plain", "boundary=",
					     "filename", "name=", "http", "://", "www.", ".com", ".net", ".org", "mailto:", "href=", "<a ", "font", "table",
					     "width=", "=3d", "&nbsp;", "this ", "that ", "you", "with", "your", "mail", "click" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (words[i][0] != l->bytes[at])
			continue;
		size_t len = strlen(words[i]);
		if (at + len <= l->len && memcmp(l->bytes + at, words[i], len) == 0)
			return len;
	}
	return 0;
}

static unsigned rarity_of_one(const struct filter_literal *l)
{
	unsigned sum = 0;
	for (size_t at = 0; at < l->len;) {
		size_t common = common_word_at(l, at);
		sum += common ? 2 : filter_literal_rarity(l->bytes[at]);
		at += common ? common : 1;
	}
	/* Under four bytes the look for it is less exact. */
	return l->len < 4 ? sum / 2 : sum;
}

static unsigned rarity_of(const struct filter_literals *list)
{
	unsigned least = UINT32_MAX;
	for (unsigned i = 0; i < list->count; i++) {
		unsigned rarity = rarity_of_one(&list->items[i]);
		least = rarity < least ? rarity : least;
	}
	return least;
}

static bool is_usable(const struct filter_literals *list)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->items[i].len < FILTER_LITERAL_MIN)
			return false;
	return list->count > 0;
}

/* Many texts are found more often than one. */
static unsigned worth(const struct filter_literals *list)
{
	return is_usable(list) ? rarity_of(list) * 8 / (7 + list->count) : 0;
}

static void take_if_better(struct filter_literals *best, const struct filter_literals *other)
{
	if (worth(other) > worth(best))
		*best = *other;
}

/* What one of the parts demands, best: its texts, or a part of them. */
static struct filter_literals demand_of(const struct part *p)
{
	struct filter_literals best = p->demand;
	take_if_better(&best, &p->whole);
	return best;
}

static void add(struct filter_literals *list, const struct filter_literal *item)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->items[i].len == item->len && memcmp(list->items[i].bytes, item->bytes, item->len) == 0)
			return;
	list->items[list->count++] = *item;
}

static bool has_room_behind(const struct filter_literals *a, const struct filter_literals *b)
{
	unsigned longest_a = 0, longest_b = 0;
	for (unsigned i = 0; i < a->count; i++)
		longest_a = a->items[i].len > longest_a ? a->items[i].len : longest_a;
	for (unsigned i = 0; i < b->count; i++)
		longest_b = b->items[i].len > longest_b ? b->items[i].len : longest_b;
	return a->count * b->count <= FILTER_LITERALS_MAX && longest_a + longest_b <= FILTER_LITERAL_LEN_MAX;
}

static struct filter_literals product(const struct filter_literals *a, const struct filter_literals *b)
{
	struct filter_literals out = { .count = 0 };
	for (unsigned i = 0; i < a->count; i++)
		for (unsigned j = 0; j < b->count; j++) {
			struct filter_literal item = a->items[i];
			memcpy(item.bytes + item.len, b->items[j].bytes, b->items[j].len);
			item.len = (uint8_t)(item.len + b->items[j].len);
			add(&out, &item);
		}
	return out;
}

/* a, and then b. */
static void append(struct part *a, const struct part *b)
{
	take_if_better(&a->demand, &b->demand);
	if (a->whole.count && b->whole.count && has_room_behind(&a->whole, &b->whole)) {
		a->whole = product(&a->whole, &b->whole);
		return;
	}
	/* The run ends here, and the next one begins with b: it stands for the end of what is matched. */
	take_if_better(&a->demand, &a->whole);
	a->whole = b->whole;
}

/* A run that has ended says what is demanded, not what the whole matches. */
struct sequence {
	struct part part;
	bool is_whole; /* part.whole stands for all of it, not only for the end of it */
};

static void sequence_append(struct sequence *s, const struct part *b)
{
	bool goes_on = s->part.whole.count && b->whole.count && has_room_behind(&s->part.whole, &b->whole);
	append(&s->part, b);
	s->is_whole = s->is_whole && goes_on;
}

static struct part sequence_end(const struct sequence *s)
{
	struct part p = s->part;
	if (!s->is_whole) {
		take_if_better(&p.demand, &p.whole);
		p.whole.count = 0;
	}
	return p;
}

/* Either a or b. */
static struct part either(const struct part *a, const struct part *b)
{
	struct part out = unknown();
	struct filter_literals one = demand_of(a), other = demand_of(b);
	if (a->whole.count && b->whole.count && a->whole.count + b->whole.count <= FILTER_LITERALS_MAX) {
		out.whole = a->whole;
		for (unsigned i = 0; i < b->whole.count; i++)
			add(&out.whole, &b->whole.items[i]);
	}
	if (is_usable(&one) && is_usable(&other) && one.count + other.count <= FILTER_LITERALS_MAX) {
		out.demand = one;
		for (unsigned i = 0; i < other.count; i++)
			add(&out.demand, &other.items[i]);
	}
	return out;
}

static struct part of_byte(char c)
{
	struct part out = of_nothing();
	out.whole.items[0] = (struct filter_literal){ 1, { span_lower(c) } };
	return out;
}

/* In UTF-8, what is not ASCII has another case with other bytes perhaps. */
static struct part of_char(char c, bool is_utf)
{
	return is_utf && (unsigned char)c >= 0x80 ? unknown() : of_byte(c);
}

/* [abc] with a few characters and nothing else in it. */
static struct part of_set(struct span set, bool is_utf)
{
	struct part out = unknown();
	struct span inside = span_sub(set, 1, set.len - 1);
	if (inside.ptr[0] == '^')
		return out;
	for (size_t i = 0; i < inside.len; i++) {
		struct part one = of_char(inside.ptr[i], is_utf);
		bool is_range = inside.ptr[i] == '-' && i > 0 && i + 1 < inside.len;
		if (inside.ptr[i] == '[' || is_range || one.whole.count == 0 || out.whole.count == SET_MAX)
			return unknown();
		add(&out.whole, &one.whole.items[0]);
	}
	return out;
}

static struct part repeated(const struct part *p, const struct bre_token *token)
{
	struct part out = unknown();
	if (token->min == 1 && token->max == 1)
		return *p;
	if (token->min > 0)
		out.demand = demand_of(p);
	return out;
}

/* One \( … \), or all of the expression. */
struct level {
	struct part before;       /* the branches that have ended, in one */
	bool has_before;
	struct sequence sequence; /* of this branch, without: */
	struct part last;         /* what a repetition would be of */
	char lead;                /* the byte before, if it begins a character of two */
};

static void level_begin(struct level *l)
{
	*l = (struct level){ .sequence = { of_nothing(), true }, .last = of_nothing() };
}

static void level_put(struct level *l, struct part p)
{
	sequence_append(&l->sequence, &l->last);
	l->last = p;
}

static void level_branch(struct level *l)
{
	level_put(l, of_nothing());
	struct part branch = sequence_end(&l->sequence);
	l->before = l->has_before ? either(&l->before, &branch) : branch;
	l->has_before = true;
	l->sequence = (struct sequence){ of_nothing(), true };
}

static struct part of_pair(char lead, char trail)
{
	char pair[2] = { lead, trail };
	struct part out = of_nothing();
	if (!filter_fold_is_sure(pair))
		return unknown();
	out.whole.items[0] = (struct filter_literal){ 2, { pair[0], pair[1] } };
	return out;
}

/* A byte of a character of UTF-8; all of them are one thing, which may be repeated.  From U+3000 to U+9FFF (Chinese, Japanese) there is no
 * other case; of letters of two bytes filter_fold knows some. */
static void put_utf(struct level *l, char c)
{
	unsigned char byte = (unsigned char)c;
	if (byte < 0x80 || byte >= 0xc0) {
		level_put(l, byte >= 0xe3 && byte <= 0xe9 ? of_byte(c) : of_char(c, true));
	} else if (l->lead) {
		l->last = of_pair(l->lead, c);
	} else if (l->last.whole.count) {
		struct part next = of_byte(c);
		append(&l->last, &next);
	}
	l->lead = byte >= 0xc2 && byte < 0xe0 ? c : '\0';
}

static void put(struct level *levels, unsigned *depth, const struct bre_token *token, bool is_utf)
{
	struct level *l = &levels[*depth];
	switch (token->kind) {
	case BRE_CHAR:
		if (is_utf)
			put_utf(l, token->c);
		else
			level_put(l, of_byte(token->c));
		break;
	case BRE_SET: level_put(l, of_set(token->text, is_utf)); break;
	case BRE_OPEN: level_begin(&levels[++*depth]); break;
	case BRE_CLOSE:
		level_branch(l);
		--*depth;
		level_put(&levels[*depth], l->before);
		break;
	case BRE_REPEAT: l->last = repeated(&l->last, token); break;
	case BRE_OR: level_branch(l); break;
	case BRE_ANY:
	case BRE_BACKREF: level_put(l, unknown()); break;
	case BRE_GNU: level_put(l, strchr("<>bB", token->c) ? of_nothing() : unknown()); break;
	case BRE_BEGIN:
	case BRE_END: level_put(l, of_nothing()); break;
	}
}

bool filter_literals_find(struct span expression, bool is_utf, struct filter_literals *out)
{
	struct level *levels = malloc((BRE_DEPTH_MAX + 1) * sizeof *levels); /* large */
	unsigned depth = 0;
	struct bre_token token;
	struct bre bre;
	if (!levels)
		return false;
	bre_init(&bre, expression);
	level_begin(&levels[0]);
	while (bre_next(&bre, &token, NULL) == 0)
		put(levels, &depth, &token, is_utf);
	level_branch(&levels[0]);
	*out = demand_of(&levels[0].before);
	free(levels);
	return is_usable(out);
}
