#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* Where the external checker finds messages, seen from the chroot. */
#define SEED_CHECK_DIR "/check"

static const char usage[] =
	"usage: posternd -f CONF [-F] [-n]\n"
	"       posternd -c CHROOT -d SPOOL -u USER -g GROUP -D [-L] [-l IP] [-p PORT] [-s MAXSIZE]\n"
	"                [-m NAME] [-i PIDFILE] [-x COMMAND] [-H] [-P] [-q] [-F]\n"
	"  -f CONF     configuration (postern.conf(5)); stays in the foreground\n"
	"  -n          check configuration and rules, then exit\n"
	"  -F          stay in the foreground\n"
	"  -c CHROOT   the seeds' layout: rules in CHROOT/etc/smtpd_check_rules, content filter in\n"
	"              CHROOT/etc/smtpd_filter_rules, spool in CHROOT/SPOOL\n"
	"  -d SPOOL    spool directory below CHROOT\n"
	"  -u, -g      user and group of the session processes and of the spool\n"
	"  -D          run as a daemon (needed: there is no inetd mode)\n"
	"  -l IP, -p PORT  listen there (port 25 of every address)\n"
	"  -s BYTES    largest message    -m NAME  our host name    -i FILE  pid file\n"
	"  -x COMMAND  external checker of the rules' allow-extchk, run in CHROOT\n"
	"  -P          refuse suspicious characters, and names that are not the client's\n"
	"  -q          log warnings only  -L, -H are accepted (see posternd(8))\n"
	"  -V          version\n";

/* Every complaint names the program and ends with what to do. */
__attribute__((format(printf, 1, 2))) static enum options_result complain(const char *fmt, ...)
{
	va_list ap;
	(void)fprintf(stderr, "%sposternd: ", log_complaint_prefix());
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return OPTIONS_USAGE;
}

/* The words of an Obtuse smtpd command line. */
struct seed_options {
	const char *chroot_dir, *spool, *user, *group, *listen_ip, *name, *pid_file, *check_command;
	uint64_t port, max_size;
	bool daemon, quiet, paranoid, any;
};

static enum options_result join(char *out, size_t cap, const char *option, const char *a, const char *b)
{
	int n = snprintf(out, cap, "%s%s%s", a, b[0] == '/' ? "" : "/", b);
	if (n < 0 || (size_t)n >= cap)
		return complain("%s: the path is too long: at most %zu bytes", option, cap - 1);
	return OPTIONS_RUN;
}

static enum options_result copy(char *out, size_t cap, const char *option, const char *text)
{
	if (span_to_cstr(span_of(text), out, cap))
		return complain("%s '%s' is too long: at most %zu bytes", option, text, cap - 1);
	return OPTIONS_RUN;
}

/* What the words mean in terms of a configuration. */
static enum options_result seed_to_conf(const struct seed_options *seed, struct options *out)
{
	struct conf *conf = &out->conf;
	struct conf_listen *l = &conf->listen[0];
	char rules[CONF_PATH_CAP];
	struct addr address;
	struct reason why;
	if (!seed->chroot_dir || !seed->spool || !seed->user)
		return complain("-c, -d and -u are needed (or -f CONF); see posternd -h");
	if (seed->chroot_dir[0] != '/')
		return complain("-c '%s': expected a path that begins with /", seed->chroot_dir);
	if (seed->pid_file && seed->pid_file[0] != '/')
		return complain("-i '%s': expected a path that begins with /", seed->pid_file);
	if (seed->name && !conf_is_hostname(span_of(seed->name)))
		return complain("-m '%s': expected a host name such as mail.example.com", seed->name);
	if (!seed->daemon && !out->foreground && !out->check_only)
		return complain("-D is missing: there is no inetd mode; -D runs as a daemon, -F in the foreground");
	conf_defaults(conf);
	enum options_result result = join(conf->spool, sizeof conf->spool, "-d", seed->chroot_dir, seed->spool);
	if (result == OPTIONS_RUN)
		result = join(rules, sizeof rules, "-c", seed->chroot_dir, "etc/smtpd_check_rules");
	if (result == OPTIONS_RUN)
		result = copy(conf->rules, sizeof conf->rules, "-c", rules);
	if (result == OPTIONS_RUN)
		result = join(conf->filter, sizeof conf->filter, "-c", seed->chroot_dir, "etc/smtpd_filter_rules");
	conf->filter_may_lack = 1;
	if (result == OPTIONS_RUN)
		result = copy(conf->session_user, sizeof conf->session_user, "-u", seed->user);
	if (result == OPTIONS_RUN && seed->group)
		result = copy(conf->session_group, sizeof conf->session_group, "-g", seed->group);
	if (result == OPTIONS_RUN && seed->name)
		result = copy(conf->hostname, sizeof conf->hostname, "-m", seed->name);
	if (result == OPTIONS_RUN && seed->pid_file)
		result = copy(conf->pid_file, sizeof conf->pid_file, "-i", seed->pid_file);
	if (result == OPTIONS_RUN && seed->listen_ip) {
		if (addr_parse(span_of(seed->listen_ip), &address))
			return complain("-l '%s': expected an IPv4 or IPv6 address", seed->listen_ip);
		result = copy(l->address, sizeof l->address, "-l", seed->listen_ip);
	}
	if (result == OPTIONS_RUN && seed->check_command) {
		if (conf_check_command("-x", seed->check_command, &why))
			return complain("%s", why.text);
		result = copy(conf->check_command, sizeof conf->check_command, "-x", seed->check_command);
	}
	if (result == OPTIONS_RUN)
		result = copy(conf->check_chroot, sizeof conf->check_chroot, "-c", seed->chroot_dir);
	if (result == OPTIONS_RUN)
		result = copy(conf->check_dir, sizeof conf->check_dir, "-c", SEED_CHECK_DIR);
	if (result != OPTIONS_RUN)
		return result;
	/* smtpfwdd ran as the same user, from the same directory. */
	conf_default_hostname(conf);
	memcpy(conf->forward_user, conf->session_user, sizeof conf->forward_user);
	memcpy(conf->forward_group, conf->session_group, sizeof conf->forward_group);
	memcpy(conf->check_user, conf->session_user, sizeof conf->check_user);
	memcpy(conf->check_group, conf->session_group, sizeof conf->check_group);
	if (seed->max_size)
		conf->max_size_bytes = seed->max_size;
	conf->paranoid = seed->paranoid;
	if (seed->quiet)
		conf->log_level = LOG_LEVEL_WARN;
	conf->listen_count = 1;
	memcpy(l->iface, "*", 2);
	l->mode = LISTEN_DIRECT;
	l->port = seed->port ? seed->port : 25;
	l->forward.kind = FORWARD_SENDMAIL;
	memcpy(l->forward.path, "/usr/sbin/sendmail", sizeof "/usr/sbin/sendmail");
	return OPTIONS_RUN;
}

static enum options_result take_number(int opt, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value;
	if (conf_parse_size(span_of(text), &value) || value < min || value > max)
		return complain("-%c '%s': expected a number from %llu to %llu", opt, text, (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return OPTIONS_RUN;
}

enum options_result options_read(int argc, char **argv, struct options *out)
{
	struct seed_options seed = { 0 };
	const char *conf_path = NULL;
	int opt;
	memset(out, 0, sizeof *out);
	opterr = 0;
	/* As postern has them. */
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
		(void)fputs(argv[1][2] == 'h' ? usage : "posternd " POSTERN_VERSION "\n", stdout);
		return OPTIONS_EXIT_OK;
	}
	while ((opt = getopt(argc, argv, ":f:c:d:u:g:l:p:s:m:i:x:DLHPqFnhV")) != -1) {
		enum options_result result = OPTIONS_RUN;
		if (strchr("cdugmilpsxDLHPq", opt))
			seed.any = true;
		switch (opt) {
		case 'f': conf_path = optarg; break;
		case 'c': seed.chroot_dir = optarg; break;
		case 'd': seed.spool = optarg; break;
		case 'u': seed.user = optarg; break;
		case 'g': seed.group = optarg; break;
		case 'l': seed.listen_ip = optarg; break;
		case 'p': result = take_number(opt, optarg, 1, 65535, &seed.port); break;
		case 's': result = take_number(opt, optarg, 1024, 1ull << 31, &seed.max_size); break;
		case 'm': seed.name = optarg; break;
		case 'i': seed.pid_file = optarg; break;
		case 'x': seed.check_command = optarg; break;
		case 'D': seed.daemon = true; break;
		case 'q': seed.quiet = true; break;
		/* -L kept children from calling openlog(): ours never do.  -H: see posternd(8). */
		case 'L':
		case 'H': break;
		case 'P': seed.paranoid = true; break;
		case 'F': out->foreground = true; break;
		case 'n': out->check_only = true; break;
		case 'h': fputs(usage, stdout); return OPTIONS_EXIT_OK;
		case 'V': puts("posternd " POSTERN_VERSION); return OPTIONS_EXIT_OK;
		case ':': return complain("-%c needs a value; see posternd -h", optopt);
		default:
			/* getopt would read it letter by letter. */
			if (optopt == '-' && optind < argc && strncmp(argv[optind], "--", 2) == 0)
				return complain("unknown option %s; see posternd -h", argv[optind]);
			return complain("unknown option -%c; see posternd -h", optopt);
		}
		if (result != OPTIONS_RUN)
			return result;
	}
	if (optind < argc)
		return complain("'%s' is one word too many; see posternd -h", argv[optind]);
	if (!conf_path)
		return seed_to_conf(&seed, out);
	if (seed.any)
		return complain("-f CONF stands alone: everything else is in the file (only -F and -n go with it)");
	struct reason why;
	out->foreground = true;
	if (copy(out->conf_path, sizeof out->conf_path, "-f", conf_path) != OPTIONS_RUN)
		return OPTIONS_USAGE;
	if (conf_read(conf_path, &out->conf, &why)) {
		(void)complain("%s", why.text);
		return OPTIONS_FAILED;
	}
	return OPTIONS_RUN;
}
