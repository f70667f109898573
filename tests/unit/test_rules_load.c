/* Loading: what the seeds show, every kind of error with its place, lists, and the way from the master to a worker. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "rules.h"


static const char seed_rules[] = "# Allow from 10.1. only if they are from *foo.bar.com\n"
				 "allow:10.1.0.0/16:*foo.bar.com:ALL\n"
				 "allow:*foo.bar.com:ALL\n"
				 "allow:10.1.1.1:ALL:*@foo.bar.com *@bar.com\n"
				 "deny:10.1.0.0/16:ALL EXCEPT *foo.bar.com:ALL:550 Forging of e-mail\\\n"
				 " Denied - %F from %H(%I) to %T\n"
				 "deny:ALL:*@spam.r.us *@spammer.com:ALL\n"
				 "allow:ALL:ALL:*@foo.bar.com\n"
				 "noto:ALL:ALL:ALL:551 Relaying Denied - %F from\\\n"
				 "%H(%I) to %T \n"
				 "# Just to add some delays to the relayers...\n"
				 "#noto_delay:ALL:ALL:ALL:551 Relaying Denied - %F\\\n"
				 "from %H(%I) to %T\n"
				 "\n"
				 "allow-filter:ALL:ALL:ALL@somedomain.com\n"
				 "allow-filter:127.0.0.1:ALL:ALL\n"
				 "noto:ALL:RHS.dsn.rfc-ignorant.org:ALL:550 Mail refused. Your mail system \\\n"
				 "does not accept bounces. This violates RFC 2821. See www.rfc-ignorant.org\n"
				 "allow-extchk|allow-filter:ALL:ALL:ALL@somedomain.com\n"
				 "allow-extchk:ALL:ALL:ALL@nofilter.com\n"
				 "noto:ALL:ALL:*%*@*:551 Sorry %H (%I), I don't allow relaying to %T # not a comment\n"
				 "allow:127.0.0.1:ALL:ALL:# a comment: with colons: in it\n"
				 "noto:RBL.rbl.maps.vix.com:ALL:ALL:550 Mail from %I in MAPS RBL, see http%C//maps.vix.com/rbl/\n";

static int load(const char *text, size_t len, struct rules_diags *diags, struct rules **out)
{
	struct rules_options options;
	struct rules_source *source = NULL;
	rules_options_defaults(&options);
	assert_int_equal(rules_source_from_text(SPAN_LIT("f"), (struct span){ text, len }, &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("/list"), SPAN_LIT("# list\n10.0.0.0/8\n\n  mail.foo.com\n[2001:db8::]/32\n")), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("/bad"), SPAN_LIT("10.0.0.0/8\n1.2.3.4/99\nFILE=/list\n")), 0);
	int err = rules_compile(source, &options, diags, out);
	rules_source_release(&source);
	return err;
}

static void test_seed_file_loads(void **state)
{
	struct rules_diags diags = { 0 };
	struct rules *rules = NULL;
	(void)state;
	assert_int_equal(load(seed_rules, strlen(seed_rules), &diags, &rules), 0);
	assert_int_equal(rules_count(rules), 15);
	assert_int_equal(rules_line(rules, 0), 2);
	assert_int_equal(rules_line(rules, 4), 7);
	assert_int_equal(rules_line(rules, 99), 0);
	assert_int_equal(diags.errors, 0);
	assert_int_equal(diags.warnings, 1); /* three fields */
	assert_int_equal(diags.first->place.line, 3);
	rules_release(&rules);
	rules_diags_free(&diags);
}

/* A file cut anywhere loads or is refused with an error; nothing else happens. */
static void test_cut_everywhere(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof seed_rules; len++) {
		struct rules_diags diags = { 0 };
		struct rules *rules = NULL;
		int err = load(seed_rules, len, &diags, &rules);
		assert_true(err == 0 || (err == ERR_SYNTAX && diags.errors > 0));
		assert_true(!err == !!rules);
		rules_release(&rules);
		rules_diags_free(&diags);
	}
}

struct bad {
	const char *text;
	unsigned line, column;
	const char *says;
};

static const struct bad bads[] = {
	{ "permit:ALL:ALL:ALL", 1, 1, "unknown action 'permit': expected one of allow" },
	{ "\n  allow", 2, 3, "without ':'" },
	{ "allow:ALL", 1, 1, "only two fields" },
	{ "allow::ALL:ALL", 1, 7, "the source list is empty" },
	{ "allow:ALL:ALL EXCEPT:ALL", 1, 11, "the from list ends with EXCEPT" },
	{ "allow:ALL:ALL:except ALL", 1, 15, "EXCEPT without patterns" },
	{ "allow|deny:ALL:ALL:ALL", 1, 1, "can't be joined" },
	{ "deny:ALL:ALL:ALL:250 fine", 1, 18, "expected a reply code from 400 to 599" },
	{ "deny:ALL:ALL:ALL:550 a %Z", 1, 24, "unknown '%Z'" },
	{ "deny:ALL:ALL:ALL:550 a:b", 1, 24, "a colon is written %C" },
	{ "deny:10.0.0.0/33:ALL:ALL", 1, 6, "prefix length from 0 to 32" },
	{ "deny:[::1]/129:ALL:ALL", 1, 6, "prefix length from 0 to 128" },
	{ "deny:[::ffff:10.0.0.1]/95:ALL:ALL", 1, 6, "prefix length from 96 to 128" },
	{ "deny:[nonsense]:ALL:ALL", 1, 6, "not an IPv6 address" },
	{ "deny:ALL:/a(/:ALL", 1, 10, "expected POSIX extended syntax" },
	{ "deny:ALL:/open:ALL", 1, 10, "without its closing slash" },
	{ "deny:RBL.:ALL:ALL", 1, 6, "expected a DNS zone" },
	{ "deny:RBL.x=10.0.0.1:ALL:ALL", 1, 6, "inside 127.0.0.0/8" },
	{ "deny:RBL.x=127.0.0.9-127.0.0.2:ALL:ALL", 1, 6, "goes up" },
	{ "deny:RBL.x=foo:ALL:ALL", 1, 6, "expected =127.0.0.2" },
	{ "deny:NS=:ALL:ALL", 1, 6, "NS= without" },
	{ "deny:IF=:ALL:ALL", 1, 6, "without a value" },
	{ "deny:DST=mail.foo.com:ALL:ALL", 1, 6, "expected DST=address" },
	{ "deny:ALL:@foo.com:ALL", 1, 10, "on both sides of the @" },
	{ "deny:FILE=/none:ALL:ALL", 1, 6, "list '/none': not read" },
	{ "deny:FILE=:ALL:ALL", 1, 6, "FILE= without a path" },
	{ "access", 1, 1, "expected access:/path" },
	{ "dry-run debug:ALL:ALL:ALL", 1, 1, "can't stand behind dry-run" },
	{ "dry-run mark=1:ALL:ALL:ALL", 1, 1, "can't stand behind dry-run" },
	{ "mark=:ALL:ALL:ALL", 1, 1, "expected a mark such as" },
	{ "mark=0x40000000:ALL:ALL:ALL", 1, 1, "postern's own" },
	{ "mark=1|allow:ALL:ALL:ALL", 1, 1, "can't be joined" },
	{ "allow|mark=1:ALL:ALL:ALL", 1, 1, "can't be joined" },
	{ "dry-run:ALL:ALL:ALL", 1, 1, "unknown action 'dry-run'" },
	{ "access:/none", 1, 8, "access table '/none'" },
	{ "access:/list:ALL", 1, 14, "expected nothing behind" },
	{ "deny:10.0.0.1,\\\nALL [x]:ALL:ALL", 2, 5, "not an IPv6 address" },
};

static void test_errors(void **state)
{
	char line[RULES_DIAG_LINE_CAP];
	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
		struct rules_diags diags = { 0 };
		struct rules *rules = NULL;
		int err = load(bads[i].text, strlen(bads[i].text), &diags, &rules);
		assert_int_equal(err, ERR_SYNTAX);
		assert_null(rules);
		assert_int_equal(diags.errors, 1);
		if (!strstr(rules_diag_format(diags.first, line), bads[i].says))
			fail_msg("'%s': %s", bads[i].text, line);
		if (diags.first->place.line != bads[i].line || diags.first->place.column != bads[i].column)
			fail_msg("place: %s", line);
		rules_diags_free(&diags);
	}
}

static void test_all_errors_are_reported(void **state)
{
	static const char text[] = "permit:ALL:ALL:ALL\n"
				   "allow:ALL:ALL:ALL\n"
				   "deny:10.0.0.0/40 [zz]:ALL:ALL\n"
				   "noto:ALL:/(/:ALL:200 ok\n"
				   "no rule at all\n"
				   "deny:FILE=/bad:ALL:ALL\n"
				   "deny:FILE=/bad:ALL:ALL\n";
	struct rules_diags diags = { 0 };
	struct rules *rules = NULL;
	char line[RULES_DIAG_LINE_CAP];
	(void)state;
	assert_int_equal(load(text, strlen(text), &diags, &rules), ERR_SYNTAX);
	assert_null(rules);
	/* Two of them in the list, reported once although it is named twice. */
	assert_int_equal(diags.errors, 8);
	unsigned in_list = 0;
	for (const struct rules_diag *d = diags.first; d; d = d->next)
		in_list += strncmp(rules_diag_format(d, line), "/bad:", 5) == 0;
	assert_int_equal(in_list, 2);
	rules_diags_free(&diags);
}

static void test_bounds(void **state)
{
	static char text[200000];
	struct rules_diags diags = { 0 };
	struct rules *rules = NULL;
	(void)state;
	/* Joined lines count together. */
	size_t len = (size_t)snprintf(text, sizeof text, "allow:ALL");
	while (len < 100000)
		len += (size_t)snprintf(text + len, sizeof text - len, " ALL ALL ALL ALL\\\n");
	len += (size_t)snprintf(text + len, sizeof text - len, ":ALL:ALL\nallow:ALL:ALL:ALL\nbad\n");
	assert_int_equal(load(text, len, &diags, &rules), ERR_SYNTAX);
	assert_int_equal(diags.errors, 2);
	assert_non_null(strstr(diags.first->text.ptr, "line too long"));
	rules_diags_free(&diags);
	len = (size_t)snprintf(text, sizeof text, "allow:ALL");
	for (int i = 0; i < 40; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, " EXCEPT ALL");
	len += (size_t)snprintf(text + len, sizeof text - len, ":ALL:ALL\n");
	assert_int_equal(load(text, len, &diags, &rules), ERR_SYNTAX);
	rules_diags_free(&diags);
	/* More errors than are kept: all are counted. */
	len = 0;
	for (int i = 0; i < 1000; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "nonsense\n");
	assert_int_equal(load(text, len, &diags, &rules), ERR_SYNTAX);
	assert_int_equal(diags.errors, 1000);
	assert_int_equal(diags.kept, RULES_DIAG_MAX);
	rules_diags_free(&diags);
	assert_int_equal(load("allow:ALL:A\0LL:ALL\n", 19, &diags, &rules), ERR_SYNTAX);
	rules_diags_free(&diags);
}

/* What is said while a file loads: where it must come, and where it must not. */
static void test_warnings(void **state)
{
	static const struct {
		unsigned count;
		const char *says, *text;
	} cases[] = {
		{ 1, "three fields", "allow:*foo.bar.com:ALL\n" },
		{ 0, "three fields", "allow:*foo.bar.com:ALL:ALL\nallow:ALL:ALL:ALL:# note\nallow:[2001:db8::1]:ALL:ALL\n" },
		{ 1, "special words are upper case", "allow:all:ALL:ALL\n" },
		{ 1, "special words are upper case", "allow:Known:ALL:ALL\n" },
		{ 2, "has no special meaning here", "deny:ALL:KNOWN:TRUSTED\n" },
		{ 1, "has no special meaning here", "deny:ALL:ALL:RHS.zone\n" },
		{ 0, "has no special meaning here", "deny:ALL KNOWN TRUSTED *all*:ALL <> USER@x RHS.zone:ALL *known@x\n" },
		{ 2, "never matches", "deny:192.168 10.0.0.300:ALL:ALL\n" },
		{ 2, "never matches", "deny:ALL:foo.com:mail.foo.com\n" },
		{ 0, "never matches", "deny:192.168/16 10.*:*foo.com *@foo.com <> foo.com@bar.org /foo.com/ postmaster:postmaster ALL@foo.com NS=foo.com\n" },
		{ 1, "never sent", "allow:ALL:ALL:ALL:550 text\n" },
		{ 0, "never sent", "noto:ALL:ALL:ALL:550 text\n" },
		{ 1, "knows no such class", "deny:ALL:/\\w+/:ALL\n" },
		{ 0, "knows no such class", "deny:ALL:/[[:alpha:]]+\\.x\x2ey/:ALL\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rules_diags diags = { 0 };
		struct rules *rules = NULL;
		unsigned count = 0;
		assert_int_equal(load(cases[i].text, strlen(cases[i].text), &diags, &rules), 0);
		for (const struct rules_diag *d = diags.first; d; d = d->next)
			count += strstr(d->text.ptr, cases[i].says) != NULL;
		if (count != cases[i].count)
			fail_msg("'%s' %u times, not %u:\n%s%s", cases[i].says, count, cases[i].count, cases[i].text, diags.first ? diags.first->text.ptr : "");
		rules_release(&rules);
		rules_diags_free(&diags);
	}
}

/* Of a source list's file with these lines: does it take a client of that address and name (NULL: none)? */
static bool list_takes(const char *lines, const char *ip, const char *name, unsigned *warnings_out)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_options options;
	struct rules_diags diags = { 0 };
	struct rules_facts facts = { .last_id = 0 };
	struct rules_eval eval;
	struct rules_verdict verdict;
	const struct fact_value value = { .text = span_of(name) };
	rules_options_defaults(&options);
	assert_int_equal(rules_source_from_text(SPAN_LIT("r"), SPAN_LIT("allow:FILE=list:ALL:ALL\n"), &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("list"), span_of(lines)), 0);
	assert_int_equal(rules_compile(source, &options, &diags, &rules), 0);
	*warnings_out = diags.warnings;
	assert_int_equal(addr_parse(span_of(ip), &facts.client.addr), 0);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("c@d"), NULL);
	while (rules_eval_run(&eval, &verdict) == STEP_WAIT) {
		const struct fact *f = facts_next_unasked(&facts, 0);
		assert_non_null(f);
		assert_int_equal(f->key.kind, FACT_NAME);
		assert_int_equal(name ? facts_settle_present(&facts, f->id, &value) : facts_settle_absent(&facts, f->id, SPAN_NONE), 0);
	}
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return verdict.kind == VERDICT_ALLOW;
}

/* The LocalIP and LocalNames files of sendmail's rule sets, in one. */
static void test_local_ip_and_names(void **state)
{
	static const char lines[] = "# ours\n208.33.75\n127.0.0.1\n10.\n172.16\n33\n2001:db8:1::/48\n2001:db8::7\n[2001:db8:2::]/48\n192.168/16\r\n"
				    "foo.com\nHost.Bar.Org\r\n.below.net\nroot.org.\nALL@alone.net\n*wild.net\nlocalhost\n";
	static const struct {
		const char *ip, *name;
		bool is_local;
	} cases[] = {
		{ "208.33.75.9", NULL, true }, { "208.33.76.9", NULL, false }, { "10.9.8.7", NULL, true }, { "127.0.0.1", NULL, true },
		{ "127.0.0.2", NULL, false }, { "172.16.1.1", NULL, true }, { "33.1.2.3", NULL, true }, { "133.1.2.3", NULL, false },
		{ "192.168.1.1", NULL, true }, { "2001:db8:1:2::3", NULL, true }, { "2001:db8::7", NULL, true }, { "2001:db8::8", NULL, false },
		{ "2001:db8:2::1", NULL, true }, { "2001:db8:3::1", NULL, false },
		{ "9.9.9.9", "foo.com", true }, { "9.9.9.9", "a.foo.com", true }, { "9.9.9.9", "a.b.FOO.com", true }, { "9.9.9.9", "notfoo.com", false },
		{ "9.9.9.9", "foo.com.evil.net", false }, { "9.9.9.9", "com", false }, { "9.9.9.9", "host.bar.org", true },
		{ "9.9.9.9", "x.host.bar.org", true }, { "9.9.9.9", "bar.org", false }, { "9.9.9.9", "xhost.bar.org", false },
		{ "9.9.9.9", "a.below.net", true }, { "9.9.9.9", "below.net", false }, { "9.9.9.9", "root.org", true },
		{ "9.9.9.9", "a.root.org", true }, { "9.9.9.9", "alone.net", true }, { "9.9.9.9", "a.alone.net", false },
		{ "9.9.9.9", "x.awild.net", true }, { "9.9.9.9", "localhost", true },
	};
	unsigned warnings;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (list_takes(lines, cases[i].ip, cases[i].name, &warnings) != cases[i].is_local)
			fail_msg("%s %s: not %d", cases[i].ip, cases[i].name ? cases[i].name : "", cases[i].is_local);
		assert_int_equal(warnings, 0);
	}
}

/* Lines that load and wait in vain, each with a warning; and that this is said of no other. */
static void test_lines_that_never_match(void **state)
{
	static const char *const vain[] = { "10.0.0.1 # a bad one", "10.0.0.1-20", "foo.com;", "foo com", "1.2.3.4.5", "300.1", "known", "m\xc3\xbcller.com" };
	static const char *const fine[] = { "foo.com", "1.foo.com", "foo-1.com", "_x.foo.com", "10.0.0.1", "*-1", "xn--mller-kva.com", "KNOWN" };
	unsigned warnings;
	(void)state;
	for (size_t i = 0; i < sizeof vain / sizeof *vain; i++) {
		assert_false(list_takes(vain[i], "10.0.0.1", "known.example", &warnings));
		if (warnings != 1)
			fail_msg("'%s': %u warnings", vain[i], warnings);
	}
	for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
		(void)list_takes(fine[i], "10.0.0.1", "known.example", &warnings);
		if (warnings)
			fail_msg("'%s': %u warnings", fine[i], warnings);
	}
}

/* A list with many names, of which one alone stands for all while the name is not known: it must not be the one that asks for ident, too. */
static void test_names_wait_behind_ident(void **state)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_options options;
	struct rules_facts facts = { .client = { .addr = { ADDR_V4, { 9, 9, 9, 9 } } } };
	struct rules_eval eval;
	struct rules_verdict verdict;
	const struct fact_value value = { .text = SPAN_LIT("a.foo.com") };
	(void)state;
	rules_options_defaults(&options);
	assert_int_equal(rules_source_from_text(SPAN_LIT("r"), SPAN_LIT("allow:FILE=list:ALL:ALL\n"), &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("list"), SPAN_LIT("bob@mail.foo.com\nfoo.com\nbar.org\n")), 0);
	assert_int_equal(rules_compile(source, &options, NULL, &rules), 0);
	const struct fact *ident = facts_want(&facts, &(struct fact_key){ .kind = FACT_IDENT });
	assert_int_equal(facts_settle_absent(&facts, ident->id, SPAN_NONE), 0);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("c@d"), NULL);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_WAIT);
	assert_int_equal(facts_settle_present(&facts, facts_next_unasked(&facts, 0)->id, &value), 0);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_DONE);
	assert_int_equal(verdict.kind, VERDICT_ALLOW);
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
	rules_source_release(&source);
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_from_disk_to_worker(void **state)
{
	char dir[] = "/tmp/postern-rules-XXXXXX", path[64], list[64];
	struct rules_source *source = NULL, *copy = NULL;
	struct reason why = { "" };
	int fd = -1;
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/rules", dir);
	(void)snprintf(list, sizeof list, "%s/list", dir);
	assert_int_equal(rules_source_read(path, &source, &why), ERR_NOTFOUND);
	assert_non_null(strstr(why.text, path));
	write_text(path, "allow:FILE=list FILE=/dev/null:FILE=missing:FILE=list\n");
	write_text(list, "10.0.0.0/8\n");
	assert_int_equal(rules_source_read(path, &source, &why), 0);
	assert_int_equal(rules_source_count(source), 4);
	assert_int_equal(rules_source_to_fd(source, &fd, &why), 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(rules_source_from_fd(fd, &copy, &why), 0);
	(void)close(fd);
	for (uint32_t i = 0; i < 4; i++) {
		const struct rules_source_file *a = rules_source_get(source, i), *b = rules_source_get(copy, i);
		assert_true(span_eq(a->path, b->path) && span_eq(a->text, b->text) && span_eq(a->failure, b->failure));
	}
	assert_null(rules_source_get(copy, 4));
	assert_true(span_eq(rules_source_find(copy, SPAN_LIT("list"))->text, SPAN_LIT("10.0.0.0/8\n")));
	assert_true(span_eq(rules_source_find(copy, SPAN_LIT("/dev/null"))->failure, SPAN_LIT("not a regular file")));
	assert_true(rules_source_find(copy, SPAN_LIT("missing"))->failure.len > 0);
	rules_source_release(&source);
	rules_source_release(&copy);
	assert_int_equal(rules_source_read(dir, &source, &why), ERR_INVAL);
	(void)unlink(path);
	(void)unlink(list);
	(void)rmdir(dir);
}

static int map_bytes(const void *bytes, size_t len, int seals)
{
	struct rules_source *source = NULL;
	struct reason why;
	int fd = memfd_create("test", MFD_ALLOW_SEALING);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	int err = rules_source_from_fd(fd, &source, &why);
	rules_source_release(&source);
	(void)close(fd);
	return err;
}

static void test_hostile_bundle(void **state)
{
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct rules_source *source = NULL;
	struct reason why;
	static unsigned char bytes[4096];
	int fd;
	(void)state;
	assert_int_equal(rules_source_from_text(SPAN_LIT("f"), SPAN_LIT("allow:FILE=l:ALL:ALL\n"), &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("l"), SPAN_LIT("1.2.3.4\n")), 0);
	assert_int_equal(rules_source_to_fd(source, &fd, &why), 0);
	ssize_t len = pread(fd, bytes, sizeof bytes, 0);
	(void)close(fd);
	rules_source_release(&source);
	assert_true(len > 0);
	assert_int_equal(map_bytes(bytes, (size_t)len, sealed), 0);
	assert_int_equal(map_bytes(bytes, (size_t)len, 0), ERR_PROTO);
	assert_int_equal(map_bytes(bytes, (size_t)len, F_SEAL_WRITE), ERR_PROTO);
	for (ssize_t cut = 0; cut < len; cut++)
		assert_int_equal(map_bytes(bytes, (size_t)cut, sealed), ERR_PROTO);
	for (ssize_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (unsigned char)(1u << bit);
			int err = map_bytes(bytes, (size_t)len, sealed);
			assert_true(err == 0 || err == ERR_PROTO);
			bytes[i] ^= (unsigned char)(1u << bit);
		}
	assert_int_equal(rules_source_from_fd(0, &source, &why), ERR_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seed_file_loads),
		cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_all_errors_are_reported),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_local_ip_and_names),
		cmocka_unit_test(test_lines_that_never_match),
		cmocka_unit_test(test_names_wait_behind_ident),
		cmocka_unit_test(test_from_disk_to_worker),
		cmocka_unit_test(test_hostile_bundle),
	};
	return cmocka_run_group_tests_name("rules_load", tests, NULL, NULL);
}
