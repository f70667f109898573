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

static void warn_user(const char *option, const char *user, const char *group)
{
	struct priv_user found;
	struct reason why;
	if (priv_lookup_prepriv(user, group, &found, &why) != 0)
		cli_complain("warning: %s: %s", option, why.text);
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

static void warn_authorities(const struct conf *conf)
{
	bool is_needed = conf->bounce_tls == TLS_VERIFY;
	for (uint64_t i = 0; i < conf->listen_count; i++)
		is_needed = is_needed || conf->listen[i].tls == TLS_VERIFY;
	if (is_needed && access(conf->tls_ca_file, R_OK) != 0)
		cli_complain("warning: tls-ca-file: %s: %s: posternfwd does not start without, as there is a verify", conf->tls_ca_file,
			     strerror(errno));
}

/* posternd does not start without. */
static void warn_checker(const struct conf *conf)
{
	char program[CONF_PATH_CAP + CONF_COMMAND_CAP];
	const char *command = conf->check_command;
	if (!command[0])
		return;
	warn_user("check-user", conf->check_user, conf->check_group);
	(void)snprintf(program, sizeof program, "%s%.*s", strcmp(conf->check_chroot, "/") == 0 ? "" : conf->check_chroot, (int)strcspn(command, " \t"),
		       command);
	if (access(program, X_OK) != 0)
		cli_complain("warning: check-command: %s: %s", program, strerror(errno));
}

static void warn_about_host(const struct conf *conf)
{
	warn_user("session-user", conf->session_user, conf->session_group);
	warn_user("forward-user", conf->forward_user, conf->forward_group);
	for (uint64_t i = 0; i < conf->listen_count; i++) {
		const char *iface = conf->listen[i].iface;
		if (strcmp(iface, "*") != 0 && if_nametoindex(iface) == 0)
			cli_complain("warning: listen \"%s\": this host has no such interface", iface);
		warn_program("forward", &conf->listen[i].forward);
		warn_identity(&conf->listen[i]);
	}
	warn_authorities(conf);
	warn_checker(conf);
	if (conf->bounce != BOUNCE_NONE)
		warn_program("bounce-via", &conf->bounce_via);
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
	warn_about_host(&conf);
	const char *filter = conf.filter[0] ? conf.filter : NULL;
	uint32_t lacking = (filter ? 0u : NEED_FILTER) | (conf.check_command[0] ? 0u : NEED_EXTCHK) | (conf.milter[0] ? 0u : NEED_MILTER);
	return cli_rules_check(conf.rules, filter, lacking, false) == 0 ? CLI_OK : CLI_FAILED;
}
