#include "cli_rules.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli_filter.h"
#include "cli_replay.h"
#include "cli_facts.h"
#include "cli_rules_json.h"
#include "cli_rules_syn.h"
#include "cli_text.h"
#include "mark_value.h"
#include "rules_lint.h"

#define EXIT_OK 0
#define EXIT_PROBLEMS 1
#define EXIT_USAGE 2
#define DEFAULT_RULES POSTERN_SYSCONFDIR "/postern/rules"

static const char usage_text[] =
	"usage: postern rules check [--json] [--filter FILTER] [FILE]\n"
	"       postern rules explain [--rules FILE] --ip ADDRESS --from ADDRESS --to ADDRESS [--name HOST] [--ident USER]\n"
	"                [--trusted|--untrusted] [--iface NAME] [--dst ADDRESS] [--mark VALUE] [--helo NAME] [--no-dns]\n"
	"                [--no-match noto|allow] [--on-unknown tempfail|skip] [--json]\n"
	"       postern rules replay --rules FILE [--no-match noto|allow] [--on-unknown tempfail|skip] [--dns] [--json] LOG...\n"
	"       postern rules stats [-f CONFIGURATION | -d SPOOL] [--json]\n"
	"The rule file is " DEFAULT_RULES " unless another one is named.\n";

static int usage(const char *problem, const char *what)
{
	if (problem)
		(void)fprintf(stderr, "postern rules: %s%s%s\n", problem, what ? ": " : "", what ? what : "");
	(void)fputs(usage_text, stderr);
	return EXIT_USAGE;
}

void cli_rules_print_diags(const struct rules_diags *diags)
{
	char line[RULES_DIAG_LINE_CAP];
	for (const struct rules_diag *d = diags->first; d; d = d->next)
		(void)fprintf(stderr, "%s\n", rules_diag_format(d, line));
	if (diags->errors + diags->warnings > diags->kept)
		(void)fprintf(stderr, "... and %u more\n", diags->errors + diags->warnings - diags->kept);
}

/* NULL with errors in diags, or with *unreadable_out set and the reason printed. */
static struct rules *load(const char *path, const struct rules_options *options, struct rules_diags *diags, bool *unreadable_out)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct reason why;
	*unreadable_out = rules_source_read(path, &source, &why) != 0;
	if (*unreadable_out) {
		(void)fprintf(stderr, "postern rules: %s\n", why.text);
		return NULL;
	}
	if (rules_compile(source, options, diags, &rules) == ERR_NOMEM)
		(void)fprintf(stderr, "postern rules: no memory\n");
	rules_source_release(&source);
	return rules;
}

/* In the seeds' layout it lies beside the rules. */
static const char *filter_beside(const char *path, char *out, size_t cap)
{
	static const char rules_name[] = "smtpd_check_rules";
	size_t len = strlen(path), name_len = sizeof rules_name - 1;
	if (len < name_len || strcmp(path + len - name_len, rules_name) != 0)
		return NULL;
	int need = snprintf(out, cap, "%.*ssmtpd_filter_rules", (int)(len - name_len), path);
	return need > 0 && (size_t)need < cap && access(out, F_OK) == 0 ? out : NULL;
}

/* Its errors and warnings go where those of the rules go. */
static bool check_filter(const char *path, struct rules_diags *diags, size_t *count_out)
{
	struct filter_set *set = cli_filter_load(path, diags);
	bool is_good = set != NULL;
	if (set)
		*count_out = filter_set_count(set);
	filter_set_release(&set);
	return is_good;
}

static void warn_about_needs(const char *path, const struct rules *rules, uint32_t lacking, struct rules_diags *diags)
{
	const struct rules_place place = { .file = span_of(path) };
	lacking &= rules_needs(rules);
	if (lacking & NEED_FILTER)
		rules_diag_add(diags, RULES_WARNING, &place,
			       "a rule says allow-filter and there is no content filter: its recipients get 451; see filter in postern.conf(5)");
	if (lacking & NEED_EXTCHK)
		rules_diag_add(diags, RULES_WARNING, &place,
			       "a rule says allow-extchk and there is no check-command: its recipients get 451; see check-command in postern.conf(5)");
	if (lacking & NEED_MILTER)
		rules_diag_add(diags, RULES_WARNING, &place,
			       "a rule says allow-milter and there is no milter: its recipients get 451; see milter in postern.conf(5)");
}

int cli_rules_check(const char *path, const char *filter, uint32_t lacking, bool json)
{
	struct rules_options options;
	struct rules_diags diags = { 0 };
	bool is_unreadable;
	size_t patterns = 0;
	rules_options_defaults(&options);
	struct rules *rules = load(path, &options, &diags, &is_unreadable);
	if (rules && rules_lint(rules, &diags) != 0)
		(void)fprintf(stderr, "postern rules: no memory to look for more\n");
	if (rules)
		warn_about_needs(path, rules, lacking, &diags);
	bool is_good = rules && !diags.errors;
	if (filter && !check_filter(filter, &diags, &patterns))
		is_good = false;
	uint32_t count = rules ? rules_count(rules) : 0;
	if (json && !is_unreadable) {
		cli_json_print(cli_json_check(path, count, &diags));
	} else if (!is_unreadable) {
		cli_rules_print_diags(&diags);
		if (is_good) {
			(void)printf("%s: %u rule%s, ", path, count, cli_text_plural(count));
			if (filter)
				(void)printf("%s: %zu pattern%s, ", filter, patterns, cli_text_plural(patterns));
			(void)printf("no errors, %u warning%s\n", diags.warnings, cli_text_plural(diags.warnings));
		} else if (diags.errors) {
			(void)fprintf(stderr, "%s%s%s: %u error%s, %u warning%s: not usable\n", path, filter ? ", " : "", filter ? filter : "",
				      diags.errors, cli_text_plural(diags.errors), diags.warnings, cli_text_plural(diags.warnings));
		}
	}
	rules_release(&rules);
	rules_diags_free(&diags);
	return is_good ? EXIT_OK : EXIT_PROBLEMS;
}

static int check(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' }, { "filter", required_argument, NULL, 'F' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
	};
	const char *filter = NULL;
	char beside[4096];
	bool json = false;
	int c;
	optind = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'h': (void)fputs(usage_text, stdout); return EXIT_OK;
		case 'F': filter = optarg; break;
		case 'j': json = true; break;
		default: return usage(NULL, NULL);
		}
	}
	if (argc - optind > 1)
		return usage("one file at a time", argv[optind + 1]);
	const char *path = optind < argc ? argv[optind] : DEFAULT_RULES;
	/* Whether there is one is the configuration's matter. */
	return cli_rules_check(path, filter ? filter : filter_beside(path, beside, sizeof beside), 0, json);
}

/* What explain was asked. */
struct question {
	const char *path;
	const char *name, *ident, *from, *to;
	struct rules_client client;
	struct rules_options options;
	bool no_dns, json;
};

enum { OPT_RULES = 256, OPT_IP, OPT_NAME, OPT_IDENT, OPT_TRUSTED, OPT_UNTRUSTED, OPT_IFACE, OPT_DST, OPT_MARK, OPT_HELO, OPT_FROM, OPT_TO,
       OPT_NO_DNS, OPT_NO_MATCH, OPT_ON_UNKNOWN, OPT_JSON, OPT_HELP };

static const struct option explain_options[] = {
	{ "rules", required_argument, NULL, OPT_RULES },
	{ "ip", required_argument, NULL, OPT_IP },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "ident", required_argument, NULL, OPT_IDENT },
	{ "trusted", no_argument, NULL, OPT_TRUSTED },
	{ "untrusted", no_argument, NULL, OPT_UNTRUSTED },
	{ "iface", required_argument, NULL, OPT_IFACE },
	{ "dst", required_argument, NULL, OPT_DST },
	{ "mark", required_argument, NULL, OPT_MARK },
	{ "helo", required_argument, NULL, OPT_HELO },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "to", required_argument, NULL, OPT_TO },
	{ "no-dns", no_argument, NULL, OPT_NO_DNS },
	{ "no-match", required_argument, NULL, OPT_NO_MATCH },
	{ "on-unknown", required_argument, NULL, OPT_ON_UNKNOWN },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static int take_address(const char *option, const char *text, struct addr *out)
{
	struct span s = span_of(text);
	if (s.len > 2 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']')
		s = span_sub(s, 1, s.len - 1);
	if (addr_parse(s, out) == 0)
		return 0;
	(void)fprintf(stderr, "postern rules: %s: expected an IPv4 or IPv6 address\n", option);
	return usage("not an address", text);
}

static int take_mark(const char *text, uint32_t *out)
{
	struct mark_value value;
	struct reason why;
	if (span_find(span_of(text), '/', 0) < strlen(text) || mark_value_parse(span_of(text), &value, &why))
		return usage("--mark: not a mark", text);
	*out = value.bits;
	return 0;
}

static int take_choice(const char *text, const char *first, const char *second, bool *is_second_out)
{
	*is_second_out = strcmp(text, second) == 0;
	return *is_second_out || strcmp(text, first) == 0 ? 0 : usage("unknown value", text);
}

static int take_option(struct question *q, int option, const char *value)
{
	bool second = false;
	int code = 0;
	switch (option) {
	case OPT_RULES: q->path = value; break;
	case OPT_IP: return take_address("--ip", value, &q->client.addr);
	case OPT_DST: return take_address("--dst", value, &q->client.dst);
	case OPT_NAME: q->name = value; break;
	case OPT_IDENT: q->ident = value; break;
	case OPT_TRUSTED: q->client.trusted = true; break;
	case OPT_UNTRUSTED: q->client.trusted = false; break;
	case OPT_IFACE: q->client.iface = span_of(value); break;
	case OPT_MARK: return take_mark(value, &q->client.mark);
	case OPT_HELO: q->client.helo = span_of(value); break;
	case OPT_FROM: q->from = value; break;
	case OPT_TO: q->to = value; break;
	case OPT_NO_DNS: q->no_dns = true; break;
	case OPT_JSON: q->json = true; break;
	case OPT_NO_MATCH:
		code = take_choice(value, "noto", "allow", &second);
		q->options.no_match = second ? NO_MATCH_ALLOW : NO_MATCH_NOTO;
		break;
	case OPT_ON_UNKNOWN:
		code = take_choice(value, "tempfail", "skip", &second);
		q->options.on_unknown = second ? ON_UNKNOWN_SKIP : ON_UNKNOWN_TEMPFAIL;
		break;
	default: return usage(NULL, NULL);
	}
	return code;
}

static int read_question(int argc, char **argv, struct question *q)
{
	int c, code;
	optind = 0;
	while ((c = getopt_long(argc, argv, "", explain_options, NULL)) != -1) {
		if (c == OPT_HELP) {
			(void)fputs(usage_text, stdout);
			return -1;
		}
		code = take_option(q, c, optarg);
		if (code)
			return code;
	}
	if (optind < argc)
		return usage("unexpected argument", argv[optind]);
	if (q->client.addr.family == ADDR_NONE || !q->from || !q->to)
		return usage("--ip, --from and --to are needed", NULL);
	return 0;
}

/* A fact of the command line; or, when nothing may be asked, its absence. */
static void settle_given(struct rules_facts *facts, enum fact_kind kind, const char *value, bool no_dns)
{
	struct fact_key key = { .kind = kind };
	if (!value && !no_dns)
		return;
	const struct fact *fact = facts_want(facts, &key);
	if (!fact)
		return;
	if (value && *value)
		(void)facts_settle_present(facts, fact->id, &(struct fact_value){ .text = span_of(value) });
	else
		(void)facts_settle_absent(facts, fact->id, SPAN_LIT(""));
}

struct listing {
	const char *path;
	json_t *json; /* NULL: text */
};

static void list_trace(void *ctx, const struct rules_trace *trace)
{
	const struct listing *listing = ctx;
	if (listing->json) {
		json_array_append_new(listing->json, cli_json_trace(trace));
		return;
	}
	(void)printf("%s:%u: %.*s: %s", listing->path, trace->rule_line, SPAN_FMT(trace->action), cli_trace_result(trace));
	if (trace->result == TRI_FALSE) {
		(void)printf(" (%s list)", rules_list_name(trace->decided_by));
		if (trace->closest.len) {
			(void)printf(": %s %.*s, compared with ", trace->is_excepted ? "EXCEPT" : "closest is", SPAN_FMT(trace->closest));
			cli_text_put(stdout, trace->value[0] ? span_of(trace->value) : SPAN_LIT("<>"));
		}
	}
	if (trace->result == TRI_UNKNOWN)
		(void)printf(" (%.*s%s%s)", SPAN_FMT(trace->pattern), trace->pattern.len ? ": " : "", trace->why);
	(void)putchar('\n');
}

static void print_verdict(const struct rules_verdict *verdict)
{
	(void)printf("verdict: %s", verdict_kind_name(verdict->kind));
	if (verdict->rule_line)
		(void)printf(" by line %u", verdict->rule_line);
	else
		(void)printf(" because no rule matched");
	(void)putchar('\n');
	if (verdict->unknown_reason[0])
		(void)printf("unknown: %s\n", verdict->unknown_reason);
	if (verdict->reply[0])
		(void)printf("reply:   %s\n", verdict->reply);
	if (verdict->delay_s)
		(void)printf("delay:   %llu s\n", (unsigned long long)verdict->delay_s);
	for (uint32_t bit = 1; bit && bit <= verdict->needs; bit <<= 1)
		if (verdict->needs & bit)
			(void)printf("needs:   %s\n", verdict_need_name((enum verdict_need)bit));
	if (verdict->close_session)
		(void)printf("then:    the session is closed\n");
}

/* Settles what lacks, and opens *finder when it is needed for the first time. */
static void settle(const struct question *q, struct rules_facts *facts, struct cli_facts **finder, bool *is_open)
{
	if (q->no_dns || !facts_next_unasked(facts, 0)) {
		facts_fail_unasked(facts, "not asked (--no-dns)");
		return;
	}
	if (!*is_open)
		*finder = cli_facts_open();
	*is_open = true;
	cli_facts_fetch(*finder, facts);
}

static void answer(const struct question *q, struct rules *rules)
{
	struct rules_facts facts = { .client = q->client };
	struct listing listing = { q->path, q->json ? json_array() : NULL };
	struct rules_hooks hooks = { .ctx = &listing, .trace = list_trace };
	struct rules_eval eval;
	struct rules_verdict verdict;
	struct cli_rules_syn syn;
	struct cli_facts *finder = NULL;
	bool is_open = false;
	settle_given(&facts, FACT_NAME, q->name, q->no_dns);
	settle_given(&facts, FACT_IDENT, q->ident, q->no_dns);
	rules_eval_start(&eval, rules, &facts, span_of(q->from), span_of(q->to), &hooks);
	while (rules_eval_run(&eval, &verdict) == STEP_WAIT)
		settle(q, &facts, &finder, &is_open);
	cli_rules_syn_want(rules, &facts);
	settle(q, &facts, &finder, &is_open);
	bool has_syn = cli_rules_syn_judge(rules, &facts, &syn) == 0;
	cli_facts_close(&finder);
	rules_eval_end(&eval);
	facts_free(&facts);
	if (listing.json) {
		json_t *json = cli_json_verdict(&verdict, listing.json);
		(void)json_object_set_new(json, "syn", has_syn ? cli_rules_syn_json(&syn) : json_null());
		cli_json_print(json);
		return;
	}
	print_verdict(&verdict);
	if (has_syn)
		cli_rules_syn_print(&syn);
}

static int explain(int argc, char **argv)
{
	struct question q = { .path = DEFAULT_RULES };
	struct rules_diags diags = { 0 };
	bool is_unreadable;
	rules_options_defaults(&q.options);
	int code = read_question(argc, argv, &q);
	if (code)
		return code < 0 ? EXIT_OK : code;
	struct rules *rules = load(q.path, &q.options, &diags, &is_unreadable);
	if (rules)
		answer(&q, rules);
	else
		cli_rules_print_diags(&diags);
	code = rules ? EXIT_OK : EXIT_PROBLEMS;
	rules_release(&rules);
	rules_diags_free(&diags);
	return code;
}

int cli_rules(int argc, char **argv)
{
	if (argc < 2)
		return usage("what about the rules", "check, explain, replay or stats");
	if (strcmp(argv[1], "check") == 0)
		return check(argc - 1, argv + 1);
	if (strcmp(argv[1], "explain") == 0)
		return explain(argc - 1, argv + 1);
	if (strcmp(argv[1], "replay") == 0)
		return cli_replay(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0) {
		(void)fputs(usage_text, stdout);
		return EXIT_OK;
	}
	return usage("unknown command", argv[1]);
}
