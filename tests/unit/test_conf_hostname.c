/* The host's own name: asked for only where none is given, and once. */
#include "conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned lookups;
static const char *own_name = "gate";

/* In the place of the system's. */
int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)res;
	lookups++;
	return EAI_AGAIN;
}

int gethostname(char *name, size_t len)
{
	(void)snprintf(name, len, "%s", own_name);
	return 0;
}

static void read_conf(const char *text, struct conf *out)
{
	char path[] = "/tmp/postern-conf-XXXXXX";
	struct reason why = { "" };
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
	int err = conf_read(path, out, &why);
	(void)unlink(path);
	if (err)
		fail_msg("%s", why.text);
}

static void asked_only_where_none_is_given(void **state)
{
	static struct conf conf;
	(void)state;
	read_conf("hostname = mail.example.net\nlisten \"wan\" { }\n", &conf);
	assert_string_equal(conf.hostname, "mail.example.net");
	conf_defaults(&conf);
	assert_string_equal(conf.hostname, "");
	assert_int_equal(lookups, 0);
	for (int i = 0; i < 3; i++) {
		read_conf("listen \"wan\" { }\n", &conf);
		assert_string_equal(conf.hostname, "gate");
		assert_int_equal(lookups, 1);
		own_name = "other";
	}
}

static void full_names(void **state)
{
	(void)state;
	assert_true(conf_is_full_hostname("mail.example.net"));
	assert_true(conf_is_full_hostname("[192.0.2.1]"));
	assert_true(conf_is_full_hostname("localhosts.example.net"));
	assert_false(conf_is_full_hostname("gate"));
	assert_false(conf_is_full_hostname("localhost"));
	assert_false(conf_is_full_hostname("LocalHost.localdomain"));
	assert_false(conf_is_full_hostname(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(asked_only_where_none_is_given), cmocka_unit_test(full_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
