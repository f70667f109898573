#include "cli_check.h"

#include <errno.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli_rules.h"
#include "priv.h"
#include "rules.h"

/* Each has_ returns false, with an error, where a daemon would not start; each warn_ is of what it lives with. */
static bool has_user(const char *option, const char *user, const char *group)
{
	struct priv_user found;
	struct reason why;
	int err = priv_lookup_prepriv(user, group, &found, &why);
	if (err)
		cli_complain("error: %s: %s", option, why.text);
	return !err;
}

static void warn_program(const char *option, const struct forward_spec *way)
{
	if (way->kind == FORWARD_SENDMAIL && access(way->path, X_OK) != 0)
		cli_complain("warning: %s = sendmail:%s: %s", option, way->path, strerror(errno));
}

/* What forward and identity say can't both be had. */
static void warn_identity(const struct conf_listen *l)
{
	bool is_program = l->forward.kind == FORWARD_SENDMAIL, is_unix = l->forward.kind == FORWARD_LMTP_UNIX;
	if (is_program && l->identity != IDENTITY_NONE)
		cli_complain("warning: listen \"%s\": identity: a program is not told the client's address", l->iface);
	else if (is_unix && l->identity == IDENTITY_SPOOF)
		cli_complain("warning: listen \"%s\": identity = spoof: a unix socket has no addresses", l->iface);
}

static bool has_authorities(const struct conf *conf)
{
	bool is_needed = conf->bounce_tls == TLS_VERIFY;
	for (uint64_t i = 0; i < conf->listen_count; i++)
		is_needed = is_needed || conf->listen[i].tls == TLS_VERIFY;
	if (!is_needed || access(conf->tls_ca_file, R_OK) == 0)
		return true;
	cli_complain("error: tls-ca-file: %s: %s: posternfwd does not start without, as there is a verify", conf->tls_ca_file, strerror(errno));
	return false;
}

static bool has_checker(const struct conf *conf)
{
	char program[CONF_PATH_CAP + CONF_COMMAND_CAP];
	const char *command = conf->check_command;
	if (!command[0])
		return true;
	bool is_there = has_user("check-user", conf->check_user, conf->check_group);
	(void)snprintf(program, sizeof program, "%s%.*s", strcmp(conf->check_chroot, "/") == 0 ? "" : conf->check_chroot, (int)strcspn(command, " \t"),
		       command);
	if (access(program, X_OK) == 0)
		return is_there;
	cli_complain("error: check-command: %s: %s", program, strerror(errno));
	return false;
}

static void warn_milters(const struct conf *conf)
{
	static struct milter_specs specs; /* large */
	conf_milters(conf, &specs);
	for (size_t i = 0; i < specs.count; i++)
		if (specs.list[i].path[0] && access(specs.list[i].path, F_OK) != 0)
			cli_complain("warning: milter: %s: %s: what it would have judged goes by fail= or milter-fail until it is there",
				     specs.list[i].path, strerror(errno));
}

static bool suits_host(const struct conf *conf)
{
	bool is_suited = has_user("session-user", conf->session_user, conf->session_group);
	is_suited &= has_user("forward-user", conf->forward_user, conf->forward_group);
	/* Without a name it may be missing. */
	if (conf->gate_user[0])
		is_suited &= has_user("gate-user", conf->gate_user, "");
	for (uint64_t i = 0; i < conf->listen_count; i++) {
		const char *iface = conf->listen[i].iface;
		if (strcmp(iface, "*") != 0 && if_nametoindex(iface) == 0) {
			cli_complain("error: listen \"%s\": this host has no such interface now: ip link shows those that are there", iface);
			is_suited = false;
		}
		warn_program("forward", &conf->listen[i].forward);
		warn_identity(&conf->listen[i]);
	}
	warn_milters(conf);
	is_suited &= has_authorities(conf);
	is_suited &= has_checker(conf);
	if (conf->bounce != BOUNCE_NONE)
		warn_program("bounce-via", &conf->bounce_via);
	return is_suited;
}

enum cli_exit cli_check(int argc, char **argv, struct cli_options *options)
{
	static struct conf conf; /* large */
	struct reason why = { "" };
	int rest;
	enum cli_exit code = cli_options_take(argc, argv, false, options, &rest);
	if (code != CLI_OK)
		return code;
	if (rest < argc || options->spool || options->json) {
		cli_complain("check takes -f CONF and nothing else; postern rules check FILE looks at rules alone");
		return CLI_USAGE;
	}
	const char *path = options->conf_path ? options->conf_path : CLI_DEFAULT_CONF;
	if (conf_read(path, &conf, &why) != 0) {
		cli_complain("%s", why.text);
		cli_complain("the rules were not checked: mend the configuration first");
		return CLI_FAILED;
	}
	(void)printf("%s: good, %llu listen section%s\n", path, (unsigned long long)conf.listen_count, conf.listen_count == 1 ? "" : "s");
	(void)fflush(stdout);
	bool is_suited = suits_host(&conf);
	const char *filter = conf.filter[0] ? conf.filter : NULL;
	uint32_t lacking = (filter ? 0u : NEED_FILTER) | (conf.check_command[0] ? 0u : NEED_EXTCHK) | (conf.milter[0] ? 0u : NEED_MILTER);
	bool is_good = cli_rules_check(conf.rules, filter, lacking, false) == 0;
	(void)fflush(stdout);
	if (!is_suited)
		cli_complain("the files may be good, but as this host is, the daemons would not start: see the errors above");
	return is_good && is_suited ? CLI_OK : CLI_FAILED;
}
