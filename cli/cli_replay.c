#include "cli_replay.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli_facts.h"
#include "cli_rules_json.h"
#include "cli_text.h"
#include "kv.h"
#include "mark_value.h"
#include "rules.h"

static const char usage_text[] =
	"usage: postern rules replay --rules FILE [--no-match noto|allow] [--on-unknown tempfail|skip] [--dns] [--json] LOG...\n"
	"LOG is a log of posternd; - is standard input.  Exit status 0: no decision changes; 1: some do.\n";

/* One ev=rcpt line.  Every value is what kv_next gave, copied: an absent key has has_ false. */
struct entry {
	char verdict[16], sid[32], iface[64], helo[KV_VALUE_CAP + 4], from[KV_VALUE_CAP + 4], to[KV_VALUE_CAP + 4];
	char name[KV_VALUE_CAP + 4], ident[KV_VALUE_CAP + 4];
	struct addr client, dst;
	uint64_t rule;
	uint32_t mark;
	bool is_trusted, has_from, has_to, has_name, has_ident, is_cut;
};

struct replay {
	struct rules *rules;
	struct rules_options options;
	struct cli_facts *finder; /* --dns; else NULL */
	bool dns, json;
	json_t *changes;
	unsigned long long decisions, unusable, changed, open;
};

static int usage(const char *problem)
{
	if (problem)
		(void)fprintf(stderr, "postern rules replay: %s\n", problem);
	(void)fputs(usage_text, stderr);
	return 2;
}

/* ---- a line */

/* The journal's JSON, where values are escaped once more: such a line can't be read as one of ours. */
static bool is_json_entry(struct span line)
{
	static const char word[] = "ev=rcpt ";
	return line.len > sizeof word && line.ptr[0] == '{' && memmem(line.ptr, line.len, word, sizeof word - 1);
}

/* Behind whatever syslog or the journal has put in front. */
static bool find_pairs(struct span line, struct span *pairs_out)
{
	for (size_t at = 0; at < line.len; at = span_find(line, ' ', at) + 1) {
		struct span here = span_sub(line, at, line.len);
		if (here.len > 4 && (memcmp(here.ptr, "sid=", 4) == 0 || memcmp(here.ptr, "ev=", 3) == 0)) {
			*pairs_out = here;
			return true;
		}
	}
	return false;
}

/* A value that the log has cut says so with "..." at its cap: it is not what the client said. */
static void take_text(const struct kv_pair *pair, char *out, size_t cap, bool *has_out, bool *is_cut)
{
	size_t len = pair->value_len;
	*is_cut = *is_cut || (len > KV_VALUE_CAP && memcmp(pair->value + len - 3, "...", 3) == 0);
	if (len >= cap)
		return;
	memcpy(out, pair->value, len);
	out[len] = '\0';
	if (has_out)
		*has_out = true;
}

static void take_pair(const struct kv_pair *pair, struct entry *e)
{
	const struct {
		const char *key;
		char *text;
		size_t cap;
		bool *has;
	} texts[] = {
		{ "verdict", e->verdict, sizeof e->verdict, NULL }, { "sid", e->sid, sizeof e->sid, NULL },
		{ "iface", e->iface, sizeof e->iface, NULL },       { "helo", e->helo, sizeof e->helo, NULL },
		{ "from", e->from, sizeof e->from, &e->has_from },  { "to", e->to, sizeof e->to, &e->has_to },
		{ "name", e->name, sizeof e->name, &e->has_name },  { "ident", e->ident, sizeof e->ident, &e->has_ident },
	};
	struct span value = { pair->value, pair->value_len };
	struct mark_value mark;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (span_eq(pair->key, span_of(texts[i].key))) {
			take_text(pair, texts[i].text, texts[i].cap, texts[i].has, &e->is_cut);
			return;
		}
	if (span_eq(pair->key, SPAN_LIT("client")))
		(void)addr_parse(value, &e->client);
	else if (span_eq(pair->key, SPAN_LIT("dst")))
		(void)addr_parse(value, &e->dst);
	else if (span_eq(pair->key, SPAN_LIT("trust")))
		e->is_trusted = span_eq(value, SPAN_LIT("trusted"));
	else if (span_eq(pair->key, SPAN_LIT("mark")))
		e->mark = mark_value_parse(value, &mark, NULL) ? 0 : mark.bits;
	else if (span_eq(pair->key, SPAN_LIT("rule")))
		(void)span_to_u64(value, UINT32_MAX, &e->rule);
}

/* False: not a line about a recipient. */
static bool read_entry(struct span line, struct entry *e)
{
	struct kv_pair pair;
	struct span rest;
	bool is_rcpt = false;
	*e = (struct entry){ .rule = 0 };
	if (!find_pairs(line, &rest))
		return false;
	while (kv_next(&rest, &pair) == 0) {
		if (span_eq(pair.key, SPAN_LIT("ev"))) {
			is_rcpt = span_eq((struct span){ pair.value, pair.value_len }, SPAN_LIT("rcpt"));
			if (!is_rcpt)
				return false;
		}
		take_pair(&pair, e);
	}
	return is_rcpt;
}

/* ---- judged again */

static void settle(struct rules_facts *facts, enum fact_kind kind, bool is_known, const char *value)
{
	const struct fact *fact = is_known ? facts_want(facts, &(struct fact_key){ .kind = kind }) : NULL;
	if (fact && *value)
		(void)facts_settle_present(facts, fact->id, &(struct fact_value){ .text = span_of(value) });
	else if (fact)
		(void)facts_settle_absent(facts, fact->id, SPAN_NONE);
}

static void settle_unknown(struct rules_facts *facts, enum fact_kind kind)
{
	const struct fact *fact = facts_want(facts, &(struct fact_key){ .kind = kind });
	if (fact)
		(void)facts_settle_failed(facts, fact->id, SPAN_LIT("not in the log"));
}

static void judge(const struct replay *r, const struct entry *e, struct rules_verdict *out)
{
	struct rules_facts facts = { .client = { .addr = e->client, .dst = e->dst, .trusted = e->is_trusted, .iface = span_of(e->iface), .mark = e->mark,
						 .helo = span_of(e->helo) } };
	struct rules_eval eval;
	settle(&facts, FACT_NAME, e->has_name, e->name);
	settle(&facts, FACT_IDENT, e->has_ident, e->ident);
	/* The ident service of a session that is long over can't be asked, whatever may be looked up. */
	if (!e->has_ident)
		settle_unknown(&facts, FACT_IDENT);
	rules_eval_start(&eval, r->rules, &facts, span_of(e->from), span_of(e->to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT) {
		if (r->dns)
			cli_facts_fetch(r->finder, &facts);
		facts_fail_unasked(&facts, "not in the log");
	}
	rules_eval_end(&eval);
	facts_free(&facts);
}

static void print_change(struct replay *r, const struct entry *e, const struct rules_verdict *now)
{
	char client[ADDR_TEXT_CAP];
	const char *kind = verdict_kind_name(now->kind);
	(void)addr_format(&e->client, client);
	if (r->json) {
		json_array_append_new(r->changes, json_pack("{s:o, s:s, s:o, s:o, s:{s:o, s:I}, s:{s:s, s:I, s:o}}", "sid", cli_json_text(span_of(e->sid)),
							    "client", client, "from", cli_json_text(span_of(e->from)), "to", cli_json_text(span_of(e->to)),
							    "old", "verdict", cli_json_text(span_of(e->verdict)), "line", (json_int_t)e->rule, "new",
							    "verdict", kind, "line", (json_int_t)now->rule_line, "reply", cli_json_text(span_of(now->reply))));
		return;
	}
	cli_text_put(stdout, span_of(e->verdict));
	(void)printf(" (line %llu) -> %s (line %u): %s from <", (unsigned long long)e->rule, kind, now->rule_line, client);
	cli_text_put(stdout, span_of(e->from));
	(void)fputs("> to <", stdout);
	cli_text_put(stdout, span_of(e->to));
	(void)puts(">");
}

static void take_line(struct replay *r, struct span line)
{
	struct entry e;
	struct rules_verdict now;
	if (is_json_entry(line)) {
		r->unusable++;
		return;
	}
	if (!read_entry(span_trim(line), &e))
		return;
	if (e.client.family == ADDR_NONE || !e.has_from || !e.has_to || !e.verdict[0] || e.is_cut) {
		r->unusable++;
		return;
	}
	r->decisions++;
	judge(r, &e, &now);
	if (strcmp(e.verdict, verdict_kind_name(now.kind)) == 0)
		return;
	if (now.kind == VERDICT_TEMPFAIL) {
		r->open++;
		return;
	}
	r->changed++;
	print_change(r, &e, &now);
}

/* NULL: what begins so is no text. */
static const char *compressed_by(struct span begin)
{
	static const struct {
		const char *magic, *reader;
		size_t len;
	} kinds[] = { { "\x1f\x8b", "zcat", 2 }, { "\xfd" "7zXZ", "xzcat", 5 }, { "\x28\xb5\x2f\xfd", "zstdcat", 4 }, { "BZh", "bzcat", 3 } };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (begin.len >= kinds[i].len && memcmp(begin.ptr, kinds[i].magic, kinds[i].len) == 0)
			return kinds[i].reader;
	return NULL;
}

static int read_log(struct replay *r, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
	char *line = NULL;
	const char *reader = NULL;
	bool is_first = true;
	size_t room = 0;
	ssize_t len;
	if (!f) {
		(void)fprintf(stderr, "postern rules replay: %s: %s\n", path, strerror(errno));
		return 1;
	}
	while (!reader && (len = getline(&line, &room, f)) >= 0) {
		reader = is_first ? compressed_by((struct span){ line, (size_t)len }) : NULL;
		is_first = false;
		if (!reader)
			take_line(r, (struct span){ line, (size_t)len });
	}
	int failed = ferror(f) != 0 || reader;
	if (reader)
		(void)fprintf(stderr, "postern rules replay: %s is compressed: %s it, and read - (standard input)\n", path, reader);
	else if (failed)
		(void)fprintf(stderr, "postern rules replay: %s: %s\n", path, strerror(errno));
	free(line);
	if (f != stdin)
		(void)fclose(f);
	return failed;
}

/* ---- the command */

static int load(struct replay *r, const char *path)
{
	struct rules_source *source = NULL;
	struct rules_diags diags = { 0 };
	struct reason why;
	char text[RULES_DIAG_LINE_CAP];
	if (rules_source_read(path, &source, &why)) {
		(void)fprintf(stderr, "postern rules replay: %s\n", why.text);
		return 2;
	}
	(void)rules_compile(source, &r->options, &diags, &r->rules);
	for (const struct rules_diag *d = diags.first; d && !r->rules; d = d->next)
		(void)fprintf(stderr, "%s\n", rules_diag_format(d, text));
	rules_diags_free(&diags);
	rules_source_release(&source);
	return r->rules ? 0 : 2;
}

static void print_summary(struct replay *r)
{
	if (r->json) {
		cli_json_print(json_pack("{s:I, s:I, s:I, s:I, s:o}", "decisions", (json_int_t)r->decisions, "changed", (json_int_t)r->changed, "open",
					 (json_int_t)r->open, "unusable", (json_int_t)r->unusable, "changes", r->changes));
		return;
	}
	(void)printf("%llu decisions, %llu would change, %llu hang on what the log does not hold", r->decisions, r->changed, r->open);
	if (r->unusable)
		(void)printf(", %llu lines not usable (cut, or in JSON)", r->unusable);
	(void)putchar('\n');
}

static int take_option(struct replay *r, int option, const char *value, const char **path)
{
	switch (option) {
	case 'r': *path = value; return 0;
	case 'd': r->dns = true; return 0;
	case 'j': r->json = true; return 0;
	case 'm':
		r->options.no_match = strcmp(value, "allow") == 0 ? NO_MATCH_ALLOW : NO_MATCH_NOTO;
		return strcmp(value, "allow") == 0 || strcmp(value, "noto") == 0 ? 0 : usage("--no-match is noto or allow");
	case 'u':
		r->options.on_unknown = strcmp(value, "skip") == 0 ? ON_UNKNOWN_SKIP : ON_UNKNOWN_TEMPFAIL;
		return strcmp(value, "skip") == 0 || strcmp(value, "tempfail") == 0 ? 0 : usage("--on-unknown is tempfail or skip");
	default: return usage(NULL);
	}
}

int cli_replay(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "rules", required_argument, NULL, 'r' },      { "dns", no_argument, NULL, 'd' },  { "json", no_argument, NULL, 'j' },
		{ "no-match", required_argument, NULL, 'm' },   { "on-unknown", required_argument, NULL, 'u' },
		{ "help", no_argument, NULL, 'h' },             { NULL, 0, NULL, 0 },
	};
	struct replay r = { .rules = NULL };
	const char *path = NULL;
	int c, code = 0;
	rules_options_defaults(&r.options);
	optind = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h') {
			(void)fputs(usage_text, stdout);
			return 0;
		}
		code = take_option(&r, c, optarg, &path);
		if (code)
			return code;
	}
	if (!path || optind == argc)
		return usage(path ? "which log?" : "--rules FILE is needed");
	code = load(&r, path);
	if (code)
		return code;
	r.changes = r.json ? json_array() : NULL;
	r.finder = r.dns ? cli_facts_open() : NULL;
	for (int i = optind; i < argc && !code; i++)
		code = read_log(&r, argv[i]);
	print_summary(&r);
	cli_facts_close(&r.finder);
	rules_release(&r.rules);
	return code || r.changed ? 1 : 0;
}
