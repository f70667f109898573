/* rules_pattern_parse.h - what the parse functions of the pattern table share; private to rules_pattern.c and rules_pattern_addr.c. */
#ifndef POSTERN_RULES_PATTERN_PARSE_H
#define POSTERN_RULES_PATTERN_PARSE_H

#include "err.h"
#include "rules_pattern.h"

/* A parse function answers this for a word that is not of its form: the next line of the table is asked. */
enum { NOT_MINE = 1 };

/* What a parse function works on. */
struct parse {
	struct pattern_builder *b;
	enum pattern_where where;
	const struct rules_place *place;
	struct span word;
	struct span arg; /* the word without the prefix by which it was recognised */
};

/* Reports and is ERR_SYNTAX. */
#define FAIL(p, ...) (rules_diag_add((p)->b->diags, RULES_ERROR, (p)->place, __VA_ARGS__), ERR_SYNTAX)
#define WARN(p, ...) rules_diag_add((p)->b->diags, RULES_WARNING, (p)->place, __VA_ARGS__)
#define WORD(p) SPAN_FMT(span_sub((p)->word, 0, 120))

/* The functions of rules_pattern_addr.c: 0, NOT_MINE or an error that was reported. */
int pattern_parse_cidr(struct parse *p, struct pattern *out);
int pattern_parse_addr_glob(struct parse *p, struct pattern *out);
int pattern_parse_dst(struct parse *p, struct pattern *out);
int pattern_parse_rbl(struct parse *p, struct pattern *out);

#endif
