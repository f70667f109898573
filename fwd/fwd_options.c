#include "fwd_options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define POLL_DEFAULT_S 5u

static const char usage[] =
	"usage: posternfwd -f CONF [-F]\n"
	"       posternfwd -d SPOOL -u USER -g GROUP [-s MAILPROG] [-M MAXCHILDREN] [-P POLLTIME] [-i PIDFILE] [-q] [-F]\n"
	"  -f CONF     configuration (postern.conf(5)); stays in the foreground\n"
	"  -F          stay in the foreground\n"
	"  -d SPOOL    spool directory\n"
	"  -u, -g      user and group to run as; the spool is theirs\n"
	"  -s PROG     deliver by PROG -f FROM RCPT... (/usr/sbin/sendmail)\n"
	"  -M COUNT    at most so many at once (10)\n"
	"  -P SECONDS  time between two looks at the spool (5)\n"
	"  -i FILE     pid file (none)\n"
	"  -q          log warnings only\n"
	"  -V          version\n";

__attribute__((format(printf, 1, 2))) static enum fwd_options_result complain(const char *fmt, ...)
{
	va_list ap;
	(void)fprintf(stderr, "%sposternfwd: ", log_complaint_prefix());
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return FWD_OPTIONS_USAGE;
}

/* The words of an Obtuse smtpfwdd command line. */
struct seed_options {
	const char *spool, *user, *group, *program, *pid_file;
	uint64_t children;
	bool quiet, any;
};

static enum fwd_options_result copy(char *out, size_t cap, char option, const char *text)
{
	if (span_to_cstr(span_of(text), out, cap))
		return complain("-%c '%s' is too long: at most %zu bytes", option, text, cap - 1);
	return FWD_OPTIONS_RUN;
}

static enum fwd_options_result absolute(char *out, size_t cap, char option, const char *text)
{
	if (text[0] != '/')
		return complain("-%c '%s': expected a path that begins with /", option, text);
	return copy(out, cap, option, text);
}

/* What the words mean in terms of a configuration: everything goes to the program. */
static enum fwd_options_result seed_to_conf(const struct seed_options *seed, struct fwd_options *out)
{
	struct conf *conf = &out->conf;
	if (!seed->spool || !seed->user || !seed->group)
		return complain("-d, -u and -g are needed (or -f CONF); see posternfwd -h");
	conf_defaults(conf);
	conf_default_hostname(conf);
	conf->bounce_via = (struct forward_spec){ .kind = FORWARD_SENDMAIL };
	/* These words can't say whom to trust, and a sendmail that takes the mail would send such reports itself. */
	conf->bounce = BOUNCE_ALL;
	enum fwd_options_result result = absolute(conf->spool, sizeof conf->spool, 'd', seed->spool);
	if (result == FWD_OPTIONS_RUN)
		result = copy(conf->forward_user, sizeof conf->forward_user, 'u', seed->user);
	if (result == FWD_OPTIONS_RUN)
		result = copy(conf->forward_group, sizeof conf->forward_group, 'g', seed->group);
	if (result == FWD_OPTIONS_RUN)
		result = absolute(conf->bounce_via.path, sizeof conf->bounce_via.path, 's',
				  seed->program ? seed->program : "/usr/sbin/sendmail");
	if (result == FWD_OPTIONS_RUN && seed->pid_file) {
		result = absolute(conf->forward_pid_file, sizeof conf->forward_pid_file, 'i', seed->pid_file);
		out->has_pid_file = true;
	}
	if (seed->children)
		conf->sendmail_children = seed->children;
	if (seed->quiet)
		conf->log_level = LOG_LEVEL_WARN;
	conf->listen_count = 0; /* no section to look for: all mail goes by bounce_via (route.h) */
	return result;
}

static enum fwd_options_result take_number(char option, const char *text, uint64_t max, uint64_t *out)
{
	uint64_t value;
	if (span_to_u64(span_of(text), max, &value) || value == 0)
		return complain("-%c '%s': expected a number from 1 to %llu", option, text, (unsigned long long)max);
	*out = value;
	return FWD_OPTIONS_RUN;
}

static enum fwd_options_result read_conf(const char *path, struct fwd_options *out)
{
	struct reason why;
	out->is_foreground = out->has_pid_file = true;
	enum fwd_options_result result = copy(out->conf_path, sizeof out->conf_path, 'f', path);
	if (result == FWD_OPTIONS_RUN && conf_read(path, &out->conf, &why)) {
		(void)complain("%s", why.text);
		return FWD_OPTIONS_FAIL;
	}
	return result;
}

enum fwd_options_result fwd_options_read(int argc, char **argv, struct fwd_options *out)
{
	struct seed_options seed = { 0 };
	const char *conf_path = NULL;
	int opt;
	memset(out, 0, sizeof *out);
	out->poll_s = POLL_DEFAULT_S;
	opterr = 0;
	/* As postern has them. */
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "--version") == 0)) {
		(void)fputs(argv[1][2] == 'h' ? usage : "posternfwd " POSTERN_VERSION "\n", stdout);
		return FWD_OPTIONS_EXIT_OK;
	}
	while ((opt = getopt(argc, argv, ":f:d:u:g:s:M:P:i:qFhV")) != -1) {
		enum fwd_options_result result = FWD_OPTIONS_RUN;
		if (strchr("dugsMPiq", opt))
			seed.any = true;
		switch (opt) {
		case 'f': conf_path = optarg; break;
		case 'd': seed.spool = optarg; break;
		case 'u': seed.user = optarg; break;
		case 'g': seed.group = optarg; break;
		case 's': seed.program = optarg; break;
		case 'M': result = take_number('M', optarg, 1000, &seed.children); break;
		case 'P': result = take_number('P', optarg, 3600, &out->poll_s); break;
		case 'i': seed.pid_file = optarg; break;
		case 'q': seed.quiet = true; break;
		case 'F': out->is_foreground = true; break;
		case 'h': fputs(usage, stdout); return FWD_OPTIONS_EXIT_OK;
		case 'V': puts("posternfwd " POSTERN_VERSION); return FWD_OPTIONS_EXIT_OK;
		case ':': return complain("-%c needs a value; see posternfwd -h", optopt);
		default:
			/* getopt would read it letter by letter. */
			if (optopt == '-' && optind < argc && strncmp(argv[optind], "--", 2) == 0)
				return complain("unknown option %s; see posternfwd -h", argv[optind]);
			return complain("unknown option -%c; see posternfwd -h", optopt);
		}
		if (result != FWD_OPTIONS_RUN)
			return result;
	}
	if (optind < argc)
		return complain("'%s' is one word too many; see posternfwd -h", argv[optind]);
	if (!conf_path)
		return seed_to_conf(&seed, out);
	if (seed.any)
		return complain("-f CONF stands alone: everything else is in the file (only -F goes with it)");
	return read_conf(conf_path, out);
}
