/* postern.conf: defaults, every kind of value, ranges, and files that are cut anywhere. */
#include "conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_conf.XXXXXX";

static int read_bytes(const char *bytes, size_t len, struct conf *out, struct reason *why)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	*why = (struct reason){ "" };
	return conf_read(path, out, why);
}

static int read_text(const char *text, struct conf *out, struct reason *why)
{
	return read_bytes(text, strlen(text), out, why);
}

static void defaults(void **state)
{
	struct conf conf;
	struct reason why;
	(void)state;
	assert_int_equal(read_text("listen \"wan\" { }\n", &conf, &why), 0);
	assert_true(conf_is_hostname(span_of(conf.hostname)));
	assert_string_equal(conf.spool, "/var/spool/postern");
	assert_int_equal(conf.max_size_bytes, 50u << 20);
	assert_int_equal(conf.command_timeout_s, 300);
	assert_int_equal(conf.bare_lf, BARE_LF_REJECT);
	assert_int_equal(conf.no_match, NO_MATCH_NOTO);
	assert_int_equal(conf.on_unknown, ON_UNKNOWN_TEMPFAIL);
	assert_int_equal(conf.queue_lifetime_s, 5 * 86400);
	assert_int_equal(conf.bounce, BOUNCE_TRUSTED);
	assert_int_equal(conf.listen_count, 1);
	assert_int_equal(conf.listen[0].mode, LISTEN_REDIRECT);
	assert_int_equal(conf.listen[0].port, 2525);
	assert_int_equal(conf.listen[0].forward.kind, FORWARD_ORIGINAL);
	assert_ptr_equal(conf_find_listen(&conf, "wan"), &conf.listen[0]);
	assert_null(conf_find_listen(&conf, "lan"));
}

static void every_kind_of_value(void **state)
{
	struct conf conf;
	struct reason why;
	(void)state;
	assert_int_equal(read_text("# comment\nhostname = mail.example.com\nmax-size = 1M\nmax-errors = 7\ncommand-timeout = 90s\nnoto-delay = 0\n"
				   "log-level = \"debug\"\nbare-lf = normalize\nspool = '/s p'\nbounce-via = \"smtp:[2001:db8::1]:26\"\n"
				   "listen \"wan\" { mode = tproxy trust = trusted identity = spoof forward = \"smtp:host\" }\n"
				   "listen \"*\" { mode = direct address = \"192.0.2.1\" forward = \"sendmail:/bin/true\" }",
				   &conf, &why),
			 0);
	assert_string_equal(conf.hostname, "mail.example.com");
	assert_int_equal(conf.max_size_bytes, 1 << 20);
	assert_int_equal(conf.max_errors, 7);
	assert_int_equal(conf.command_timeout_s, 90);
	assert_int_equal(conf.noto_delay_s, 0);
	assert_int_equal(conf.log_level, 7);
	assert_int_equal(conf.bare_lf, BARE_LF_NORMALIZE);
	assert_string_equal(conf.spool, "/s p");
	assert_string_equal(conf.bounce_via.host, "2001:db8::1");
	assert_int_equal(conf.listen[0].port, 2526);
	assert_int_equal(conf.listen[0].trusted, 1);
	assert_int_equal(conf.listen[0].identity, IDENTITY_SPOOF);
	assert_int_equal(conf.listen[1].port, 25);
	assert_string_equal(conf.listen[1].address, "192.0.2.1");
	assert_int_equal(read_text("check-command = \"/bin/check  --with words\"\ncheck-timeout = 4m\nlisten \"wan\" { }\n", &conf, &why), 0);
	assert_string_equal(conf.check_command, "/bin/check  --with words");
	assert_int_equal(conf.check_timeout_s, 240);
}

static void refusals_name_the_line(void **state)
{
	static const struct {
		const char *text;
		unsigned line; /* 0: of the whole file */
		const char *words;
	} cases[] = {
		{ "\n\nnonsense = 1\nlisten \"wan\" {}\n", 3, "no such option 'nonsense'" },
		{ "max-size = 63K\nlisten \"wan\" {}\n", 1, "from 65536" },
		{ "listen \"wan\" {\n\tmode = odd\n}\n", 2, "expected one of redirect, tproxy, direct" },
		{ "listen \"wan\" {\n\tmode = redirect\n", 3, "not closed" },
		{ "hostname = \"a b\"\nlisten \"wan\" {}\n", 1, "expected a host name" },
		{ "hostname = \"a\\r\\nb\"\nlisten \"wan\" {}\n", 1, "expected a host name" },
		{ "spool = relative\nlisten \"wan\" {}\n", 1, "a path that begins with /" },
		{ "listen \"wan\" {}\nlisten \"wan\" {}\n", 2, "wan" },
		{ "listen \"wan\" {}\nretry-min = 2h\nretry-max = 1h\n", 0, "retry-min" },
		{ "listen \"wan\" {}\nbounce-via = original\nbounce-tls = verify\n", 0, "bounce-via" },
		{ "listen \"wan\" { bounce = all }\n", 1, "expected one of default, yes, no" },
		{ "bounce = yes\nlisten \"wan\" {}\n", 1, "expected one of all, trusted, none" },
		{ "listen \"wan\" {}\nbounce-via = \"lmtp:/x\"\n", 2, "expected original, smtp:HOST:PORT or sendmail:" },
		{ "listen \"wan\" { tls = on }\n", 1, "expected one of none, may, encrypt, verify" },
		{ "listen \"wan\" { tls = verify }\n", 1, "tls-name has to say" },
		{ "listen \"wan\" { tls = verify tls-name = \"a b\" }\n", 1, "tls-name = 'a b': expected a host name" },
		{ "listen \"wan\" { tls = encrypt forward = \"sendmail:/x\" }\n", 1, "none to a program" },
		{ "listen \"wan\" { identity = spoof\nspoof-fallback = spoof }\n", 2, "expected one of wait, none, xforward, xclient" },
		{ "listen \"wan\" { verify-recipients = yes forward = \"sendmail:/x\" }\n", 1, "a program can't be asked" },
		{ "check-command = check\nlisten \"wan\" {}\n", 1, "expected a program with its path" },
		{ "check-command = \"/bin/sh -c 'exit 0'\"\nlisten \"wan\" {}\n", 1, "run without a shell" },
		{ "check-command = \"/bin/check $HOME\"\nlisten \"wan\" {}\n", 1, "run without a shell" },
		{ "check-command = \"/a b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b b\"\nlisten \"wan\" {}\n", 1, "at most 32 words" },
		{ "check-timeout = 5m\nlisten \"wan\" {}\n", 1, "from 1 to 240" },
		{ "check-jobs = 101\nlisten \"wan\" {}\n", 1, "from 1 to 100" },
		{ "check-dir = relative\nlisten \"wan\" {}\n", 1, "a path that begins with /" },
		{ "", 0, "no listen section" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct conf conf = { .workers = 99 };
		struct reason why;
		char where[64];
		if (read_text(cases[i].text, &conf, &why) == 0)
			fail_msg("read: %s", cases[i].text);
		(void)snprintf(where, sizeof where, "%s:%u: ", path, cases[i].line);
		if (cases[i].line)
			assert_memory_equal(why.text, where, strlen(where));
		if (!strstr(why.text, cases[i].words))
			fail_msg("%s: %s", cases[i].text, why.text);
		assert_int_equal(conf.workers, 99);
	}
}

/* A file that breaks off is refused, or it lacks only what came behind. */
static void cut_at_every_position(void **state)
{
	static const char whole[] = "hostname = \"mail.example\"\nmax-errors = 12\n/* c */\nlisten \"wan\" {\n\tmode = tproxy\n\ttrust = trusted\n}\n";
	(void)state;
	for (size_t len = 0; len < sizeof whole; len++) {
		struct conf conf;
		struct reason why;
		int err = read_bytes(whole, len, &conf, &why);
		bool is_whole = len >= sizeof whole - 2; /* the last line end may be missing */
		if (is_whole != (err == 0))
			fail_msg("cut at %zu: %d %s", len, err, why.text);
		assert_true(is_whole || why.text[0] != '\0');
	}
}

static void odd_bytes(void **state)
{
	struct conf conf;
	struct reason why;
	char junk[2000];
	(void)state;
	assert_int_not_equal(read_bytes("listen \"wan\" {}\n\0max-errors = 1\n", 31, &conf, &why), 0);
	srand(7);
	for (unsigned round = 0; round < 300; round++) {
		for (size_t i = 0; i < sizeof junk; i++)
			junk[i] = (char)(rand() & 0xff);
		assert_int_not_equal(read_bytes(junk, (size_t)rand() % sizeof junk, &conf, &why), 0);
	}
}

static void durations_and_sizes(void **state)
{
	uint64_t value = 77;
	(void)state;
	assert_int_equal(conf_parse_duration(SPAN_LIT("2w"), &value), 0);
	assert_int_equal(value, 14 * 86400);
	assert_int_equal(conf_parse_size(SPAN_LIT("3g"), &value), 0);
	assert_true(value == 3ull << 30);
	static const char *const bad[] = { "", "s", "1x", "-1", "1 s", "1.5h", "99999999999999999999", "18446744073709551615w", "ss" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		value = 77;
		assert_int_not_equal(conf_parse_duration(span_of(bad[i]), &value), 0);
		assert_int_equal(value, 77);
	}
}

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),		 cmocka_unit_test(every_kind_of_value), cmocka_unit_test(refusals_name_the_line),
		cmocka_unit_test(cut_at_every_position), cmocka_unit_test(odd_bytes),		cmocka_unit_test(durations_and_sizes),
	};
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
