/* test_fact_finder - facts through the finder, from a DNS that answers in any order, or not at all.
 * The property: with every question answered in the order of asking there is one verdict; in any other order it is the same, and with failures it
 * is the same or "try again later".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fact_finder.h"

#define QUESTIONS_MAX 600
#define ROUNDS 1500

static uint64_t seed = 1;

static unsigned roll(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

struct question {
	uint64_t id; /* 0: answered or cancelled */
	char name[256];
	enum dns_type type;
	dns_answer_fn fn;
	void *ctx;
};

/* A DNS whose answers follow from the question and the world's number. */
struct fake {
	struct loop *loop;
	struct loop_task pump;
	struct question questions[QUESTIONS_MAX];
	size_t count;
	uint64_t world;
	unsigned failure_percent;
	bool is_random;
};

static uint64_t fake_ask(void *ctx, const struct addr *client, struct span name, enum dns_type type, dns_answer_fn fn, void *fn_ctx)
{
	static uint64_t last_id;
	struct fake *f = ctx;
	const struct addr expected = { ADDR_V4, { 192, 0, 2, 10 } };
	assert_true(f->count < QUESTIONS_MAX);
	assert_true(addr_eq(client, &expected));
	struct question *q = &f->questions[f->count++];
	*q = (struct question){ .id = ++last_id, .type = type, .fn = fn, .ctx = fn_ctx };
	assert_int_equal(span_to_cstr(name, q->name, sizeof q->name), 0);
	assert_true(span_find(name, '.', 0) < name.len);
	loop_task_post(f->loop, &f->pump);
	return q->id;
}

static void fake_cancel(void *ctx, uint64_t id)
{
	struct fake *f = ctx;
	for (size_t i = 0; i < f->count; i++)
		if (f->questions[i].id == id)
			f->questions[i].id = 0;
}

/* 0 or 1: no such record or name; else up to three records. */
static void make_answer(const struct fake *f, const struct question *q, struct dns_record records[3], char texts[3][32], struct dns_answer *out)
{
	uint64_t h = (span_hash_nocase(span_of(q->name)) ^ f->world * 77) * 0x9e3779b97f4a7c15u + (uint64_t)q->type * 1234567;
	h ^= h >> 29;
	*out = (struct dns_answer){ .status = h % 5 == 0 ? DNS_NO_NAME : DNS_NO_DATA, .records = records, .why = "" };
	if (h % 5 < 2)
		return;
	out->status = DNS_FOUND;
	out->count = 1 + (uint32_t)(h >> 8) % 3;
	for (uint32_t i = 0; i < out->count; i++) {
		unsigned n = (unsigned)(h >> (12 + 4 * i)) % 6;
		records[i] = (struct dns_record){ .is_host = true };
		if (q->type == DNS_PTR)
			(void)snprintf(texts[i], 32, "n%u.client.test", n);
		else
			(void)snprintf(texts[i], 32, "h%u.host.test", n);
		if (q->type != DNS_A && q->type != DNS_AAAA) {
			records[i].text = span_of(texts[i]);
			continue;
		}
		bool is_list = strstr(q->name, ".list") != NULL, is_client = q->name[0] == 'n' && n < 4;
		records[i].addr = (struct addr){ ADDR_V4, { 10, 0, 0, (uint8_t)n } };
		if (is_list)
			records[i].addr = (struct addr){ ADDR_V4, { 127, n == 5 ? 255 : 0, n == 5 ? 255 : 0, (uint8_t)n } };
		else if (is_client)
			records[i].addr = (struct addr){ ADDR_V4, { 192, 0, 2, 10 } };
	}
}

static void answer_one(void *ctx)
{
	struct fake *f = ctx;
	size_t open[QUESTIONS_MAX], n = 0;
	for (size_t i = 0; i < f->count; i++)
		if (f->questions[i].id)
			open[n++] = i;
	if (n == 0)
		return;
	struct question *q = &f->questions[open[f->is_random ? roll((unsigned)n) : 0]];
	struct question copy = *q;
	struct dns_record records[3];
	char texts[3][32];
	struct dns_answer answer;
	make_answer(f, q, records, texts, &answer);
	if (roll(100) < f->failure_percent)
		answer = (struct dns_answer){ .status = DNS_FAILED, .why = "time-out" };
	q->id = 0;
	copy.fn(copy.ctx, copy.id, &answer);
	loop_task_post(f->loop, &f->pump);
}

struct trial {
	struct loop *loop;
	struct fact_finder finder;
	struct rules_eval eval;
	struct rules_verdict verdict;
	bool is_done, is_running;
};

static void go_on(void *ctx)
{
	struct trial *t = ctx;
	if (t->is_done)
		return;
	if (rules_eval_run(&t->eval, &t->verdict) == STEP_WAIT) {
		fact_finder_fetch(&t->finder);
		return;
	}
	t->is_done = true;
	if (t->is_running)
		loop_stop(t->loop);
}

static void judge(struct rules *rules, uint64_t world, bool is_random, unsigned failure_percent, struct rules_verdict *out)
{
	static struct fake fake;
	struct rules_facts facts = { .client = { .addr = { ADDR_V4, { 192, 0, 2, 10 } } } };
	struct trial t = { .is_done = false };
	struct fact_service *service = NULL;
	const struct dns_source source = { &fake, fake_ask, fake_cancel };
	const struct fact_service_options options = { .deadline_ms = 60000 };
	assert_int_equal(loop_create(&t.loop), 0);
	fake = (struct fake){ .loop = t.loop, .world = world, .is_random = is_random, .failure_percent = failure_percent };
	fake.pump = (struct loop_task){ .fn = answer_one, .ctx = &fake };
	assert_int_equal(fact_service_create(t.loop, &source, &options, &service), 0);
	static const struct fact_finder_hooks hooks = { .arrived = go_on };
	fact_finder_open(&t.finder, service, &facts, 0, 0, &hooks, &t);
	if (is_random && roll(2)) {
		rules_prefetch(rules, &facts);
		fact_finder_fetch(&t.finder);
	}
	rules_eval_start(&t.eval, rules, &facts, SPAN_LIT("a@deep.sender.test"), SPAN_LIT("b@protected.test"), NULL);
	go_on(&t);
	t.is_running = true;
	if (!t.is_done)
		loop_run(t.loop);
	assert_true(t.is_done);
	*out = t.verdict;
	rules_eval_end(&t.eval);
	fact_finder_close(&t.finder);
	loop_task_cancel(&fake.pump);
	for (size_t i = 0; i < fake.count; i++)
		assert_int_equal(fake.questions[i].id, 0); /* what was still asked is cancelled */
	facts_free(&facts);
	fact_service_destroy(&service);
	loop_destroy(&t.loop);
}

static struct rules *random_rules(void)
{
	static const char *const sources[] = { "KNOWN", "UNKNOWN", "n1.client.test", "*.client.test EXCEPT n2*", "RBL.a.list", "RBL.b.list=127.0.0.2-127.0.0.4",
					       "NS=10.0.0.1", "NS=KNOWN", "NS=h3.host.test", "NS=RBL.c.list", "ALL EXCEPT RBL.c.list EXCEPT KNOWN", "ALL" };
	static const char *const senders[] = { "ALL", "RHS.d.list", "NS=10.0.0.2", "NS=UNKNOWN", "*@NS=h1.host.test", "ALL EXCEPT RHS.e.list" };
	static const char *const actions[] = { "allow", "noto", "deny", "allow-filter", "debug" };
	char text[1024] = "";
	size_t len = 0;
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_options options;
	for (unsigned i = 1 + roll(5); i; i--)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s:%s:%s:ALL\n", actions[roll(5)], sources[roll(12)], senders[roll(2) ? 0 : roll(6)]);
	rules_options_defaults(&options);
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(text), &source), 0);
	assert_int_equal(rules_compile(source, &options, NULL, &rules), 0);
	rules_source_release(&source);
	return rules;
}

static void test_same_or_later(void **state)
{
	unsigned same = 0, later = 0;
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct rules *rules = random_rules();
		struct rules_verdict known, other;
		judge(rules, i, false, 0, &known);
		judge(rules, i, true, 0, &other);
		assert_int_equal(other.kind, known.kind);
		assert_int_equal(other.rule_line, known.rule_line);
		assert_string_equal(other.reply, known.reply);
		judge(rules, i, true, 5 + roll(40), &other);
		if (other.kind == VERDICT_TEMPFAIL) {
			later++;
		} else {
			same++;
			assert_int_equal(other.kind, known.kind);
			assert_int_equal(other.needs, known.needs);
		}
		rules_release(&rules);
	}
	assert_true(same > ROUNDS / 10 && later > ROUNDS / 10); /* both happen */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_or_later) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
