/* bench_rules: what one decision costs with the indices and by scanning every rule, with rule sets of several sizes and with a list of
 * a million entries, without DNS.  Prints one line a case:
 *   NAME indexed NS p99 NS load MS bytes BYTES [scan NS]
 * Every case judges the same made-up stream of recipients; p99 is over runs of BATCH decisions, whose clock reads cost nothing then.
 * Arguments: the number of decisions a case (200000). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <malloc.h>

#include "rules.h"

#define BATCH 16u
#define SUBJECTS 4096u
#define SCAN_BUDGET 20000000u /* rules looked at by scanning, about */

struct subject {
	struct rules_client client;
	char from[64], to[64];
	bool has_name, is_listed;
};

static uint32_t seed_state = 1;

static uint32_t roll(uint32_t sides)
{
	seed_state = seed_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed_state * sides >> 32);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_rules: %s\n", what);
	exit(1);
}

/* One text; grows in the way of bench programs. */
struct text {
	char *bytes;
	size_t len, room;
};

static void add(struct text *t, const char *line)
{
	size_t len = strlen(line);
	if (t->len + len > t->room) {
		t->room = t->room * 2 + len + 65536;
		t->bytes = realloc(t->bytes, t->room);
		if (!t->bytes)
			die("no memory");
	}
	memcpy(t->bytes + t->len, line, len);
	t->len += len;
}

/* A quarter each of single addresses, networks, sender domains and recipients, as large rule files have them. */
static void make_rules(struct text *t, uint32_t count)
{
	char line[128];
	for (uint32_t i = 0; i + 1 < count; i++) {
		uint32_t n = i / 4;
		switch (i % 4) {
		case 0: (void)snprintf(line, sizeof line, "noto:10.%u.%u.%u:ALL:ALL\n", n >> 16 & 255, n >> 8 & 255, n & 255); break;
		case 1: (void)snprintf(line, sizeof line, "noto:11.%u.%u.0/24:ALL:ALL\n", n >> 8 & 255, n & 255); break;
		case 2: (void)snprintf(line, sizeof line, "deny:ALL:*@spam%u.example:ALL\n", n); break;
		default: (void)snprintf(line, sizeof line, "allow:ALL:ALL:user%u@dom%u.example\n", n, n); break;
		}
		add(t, line);
	}
	add(t, "allow:ALL:ALL:ALL\n");
}

/* Half of all recipients meet a rule of their own, the others go through to the last one. */
static void make_subjects(struct subject *subjects, uint32_t rules)
{
	uint32_t each = rules / 4 + 1;
	for (uint32_t i = 0; i < SUBJECTS; i++) {
		struct subject *s = &subjects[i];
		uint32_t n = roll(each);
		*s = (struct subject){ .client = { .addr = { .family = ADDR_V4, .bytes = { 192, (uint8_t)roll(256), (uint8_t)roll(256), 1 } } } };
		(void)snprintf(s->from, sizeof s->from, "someone%u@good%u.example", roll(1000), roll(1000000));
		(void)snprintf(s->to, sizeof s->to, "user%u@ours.example", roll(1000));
		uint8_t *b = s->client.addr.bytes;
		switch (i % 8) {
		case 0: b[0] = 10, b[1] = (uint8_t)(n >> 16), b[2] = (uint8_t)(n >> 8), b[3] = (uint8_t)n; break;
		case 1: b[0] = 11, b[1] = (uint8_t)(n >> 8), b[2] = (uint8_t)n; break;
		case 2: (void)snprintf(s->from, sizeof s->from, "x@spam%u.example", n); break;
		case 3: (void)snprintf(s->to, sizeof s->to, "user%u@dom%u.example", n, n); break;
		default: break;
		}
	}
}

static void on_trace(void *ctx, const struct rules_trace *trace)
{
	(void)ctx, (void)trace;
}

/* The facts of a session, one for all, with the client put in: without a name, and with one of the names of the names' list. */
static struct rules_facts facts, named_facts[2];

static void settle_name(struct rules_facts *f, const char *text)
{
	const struct fact *name = facts_want(f, &(struct fact_key){ .kind = FACT_NAME });
	const struct fact_value value = { .text = span_of(text) };
	if (!name || (text ? facts_settle_present(f, name->id, &value) : facts_settle_absent(f, name->id, SPAN_NONE)))
		die("no facts");
}

static uint64_t judge(struct rules *rules, const struct subject *s, const struct rules_hooks *hooks)
{
	struct rules_verdict verdict;
	struct rules_eval eval;
	struct rules_facts *f = s->has_name ? &named_facts[s->is_listed] : &facts;
	f->client = s->client;
	rules_eval_start(&eval, rules, f, span_of(s->from), span_of(s->to), hooks);
	if (rules_eval_run(&eval, &verdict) != STEP_DONE)
		die("a decision waits for DNS");
	rules_eval_end(&eval);
	return verdict.rule_line * 4u + (uint64_t)verdict.kind;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return a < b ? -1 : a > b;
}

struct timing {
	double mean_ns, p99_ns;
	uint64_t sum; /* of the answers */
};

static struct timing measure(struct rules *rules, const struct subject *subjects, uint32_t decisions, const struct rules_hooks *hooks)
{
	struct timing out = { 0 };
	uint32_t batches = decisions / BATCH;
	uint64_t *times = malloc(batches * sizeof *times), total = 0;
	if (!times || batches == 0)
		die("no memory");
	for (uint32_t b = 0; b < batches; b++) {
		uint64_t begin = now_ns();
		for (uint32_t i = 0; i < BATCH; i++)
			out.sum += judge(rules, &subjects[(b * BATCH + i) % SUBJECTS], hooks);
		times[b] = now_ns() - begin;
		total += times[b];
	}
	qsort(times, batches, sizeof *times, compare);
	out.mean_ns = (double)total / (double)(batches * BATCH);
	out.p99_ns = (double)times[batches * 99 / 100] / BATCH;
	free(times);
	return out;
}

static size_t memory_in_use(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static struct rules *load(const struct text *text, const struct text *list, double *ms_out, size_t *bytes_out)
{
	struct rules_options options;
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	rules_options_defaults(&options);
	if (rules_source_from_text(SPAN_LIT("bench"), (struct span){ text->bytes, text->len }, &source))
		die("no source");
	if (list && rules_source_add(source, SPAN_LIT("/list"), (struct span){ list->bytes, list->len }))
		die("no list");
	size_t before = memory_in_use();
	uint64_t begin = now_ns();
	if (rules_compile(source, &options, NULL, &rules))
		die("the rules do not compile");
	*ms_out = (double)(now_ns() - begin) / 1e6;
	*bytes_out = memory_in_use() - before;
	rules_source_release(&source);
	return rules;
}

static void print_case(const char *name, const struct timing *t, const struct timing *by_scan, double load_ms, double bytes)
{
	(void)printf("%s indexed %.0f p99 %.0f load %.0f bytes %.1f", name, t->mean_ns, t->p99_ns, load_ms, bytes);
	if (by_scan)
		(void)printf(" scan %.0f", by_scan->mean_ns);
	(void)printf("\n");
	(void)fflush(stdout);
}

static void run_rules(uint32_t count, uint32_t decisions)
{
	static struct subject subjects[SUBJECTS];
	const struct rules_hooks scan = { .trace = on_trace };
	struct text text = { 0 };
	char name[32];
	double load_ms;
	size_t bytes;
	make_rules(&text, count);
	make_subjects(subjects, count);
	struct rules *rules = load(&text, NULL, &load_ms, &bytes);
	(void)measure(rules, subjects, SUBJECTS, NULL);
	struct timing indexed = measure(rules, subjects, decisions, NULL);
	uint32_t few = SCAN_BUDGET / count < decisions ? SCAN_BUDGET / count : decisions;
	struct timing by_scan = measure(rules, subjects, few, &scan);
	if (measure(rules, subjects, few, NULL).sum != by_scan.sum)
		die("the scan decides otherwise");
	(void)snprintf(name, sizeof name, "rules-%u", count);
	print_case(name, &indexed, &by_scan, load_ms, (double)bytes / count);
	rules_release(&rules);
	free(text.bytes);
}

enum list_kind { LIST_ADDRESSES, LIST_NAMES, LIST_DOMAINS, LIST_MAILBOXES };

static void make_list(struct text *list, enum list_kind kind, uint32_t entries)
{
	char line[128];
	for (uint32_t i = 0; i < entries; i++) {
		if (kind == LIST_ADDRESSES)
			(void)snprintf(line, sizeof line, "%u.%u.%u.%u\n", 20 + (i >> 18), i >> 10 & 255, i >> 2 & 255, (i & 3) * 64);
		else if (kind == LIST_NAMES)
			(void)snprintf(line, sizeof line, "spam%u.example\n", i);
		else if (kind == LIST_DOMAINS)
			(void)snprintf(line, sizeof line, "*@spam%u.example\n", i);
		else
			(void)snprintf(line, sizeof line, "user%u@spam%u.example\n", i, i);
		add(list, line);
	}
}

/* Half of the recipients are in the list. */
static void run_list(const char *name, enum list_kind kind, uint32_t entries, uint32_t decisions)
{
	static struct subject subjects[SUBJECTS];
	struct text text = { 0 }, list = { 0 };
	make_list(&list, kind, entries);
	add(&text, kind <= LIST_NAMES ? "noto:FILE=/list:ALL:ALL\n" : "noto:ALL:FILE=/list:ALL\n");
	add(&text, "allow:ALL:ALL:ALL\n");
	for (uint32_t i = 0; i < SUBJECTS; i++) {
		uint32_t n = roll(entries);
		struct subject *s = &subjects[i];
		*s = (struct subject){ .client = { .addr = { .family = ADDR_V4,
							     .bytes = { (uint8_t)(20 + (n >> 18)), (uint8_t)(n >> 10), (uint8_t)(n >> 2),
									(uint8_t)((n & 3) * 64) } } } };
		s->has_name = kind == LIST_NAMES;
		s->is_listed = i % 2 == 0;
		if (i % 2)
			s->client.addr.bytes[3]++;
		(void)snprintf(s->from, sizeof s->from, "user%u@%s%u.example", n, i % 2 ? "good" : "spam", n);
		(void)snprintf(s->to, sizeof s->to, "someone@ours.example");
	}
	double load_ms;
	size_t bytes;
	struct rules *rules = load(&text, &list, &load_ms, &bytes);
	(void)measure(rules, subjects, SUBJECTS, NULL);
	struct timing indexed = measure(rules, subjects, decisions, NULL);
	print_case(name, &indexed, NULL, load_ms, (double)bytes / entries);
	rules_release(&rules);
	free(text.bytes);
	free(list.bytes);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 100, 10000, 100000 };
	uint32_t decisions = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 200000;
	const uint32_t million = 1000000;
	settle_name(&facts, NULL);
	settle_name(&named_facts[0], "mx1.mail.good4711.example");
	settle_name(&named_facts[1], "mx1.mail.spam4711.example");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		run_rules(sizes[i], decisions);
	run_list("list-addresses", LIST_ADDRESSES, million, decisions);
	run_list("list-names", LIST_NAMES, million, decisions);
	run_list("list-domains", LIST_DOMAINS, million, decisions);
	run_list("list-mailboxes", LIST_MAILBOXES, million, decisions);
	facts_free(&facts);
	facts_free(&named_facts[0]);
	facts_free(&named_facts[1]);
	return 0;
}
