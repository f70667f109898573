#include "conf.h"

#include <confuse.h>
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "name_servers.h"
#include "smtp_domain.h"

#define FILE_CAP (1u << 20)
/* What we put behind the file: libconfuse takes a section that is never closed for a whole one, but in there it knows no such option. */
#define END_OPTION "end-of-configuration"

enum kind {
	KIND_TEXT, KIND_HOST, KIND_PATH, KIND_COUNT, KIND_DURATION, KIND_SIZE, KIND_CHOICE, KIND_FORWARD, KIND_SERVERS, KIND_NETS, KIND_COMMAND, KIND_MILTERS
};

struct choice {
	const char *name;
	uint64_t value;
};

struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	size_t cap;          /* KIND_TEXT, KIND_PATH: size of the array */
	const char *preset;  /* the default, as one would write it; NULL: computed */
	uint64_t min, max;   /* KIND_COUNT, KIND_DURATION (seconds), KIND_SIZE (bytes) */
	const struct choice *choices; /* ends with a NULL name */
};

static const struct choice log_levels[] = { { "err", 3 }, { "warn", 4 }, { "info", 6 }, { "debug", 7 }, { NULL, 0 } };
static const struct choice bare_lf_names[] = { { "reject", BARE_LF_REJECT }, { "normalize", BARE_LF_NORMALIZE }, { NULL, 0 } };
static const struct choice no_match_names[] = { { "noto", NO_MATCH_NOTO }, { "allow", NO_MATCH_ALLOW }, { NULL, 0 } };
static const struct choice on_unknown_names[] = { { "tempfail", ON_UNKNOWN_TEMPFAIL }, { "skip", ON_UNKNOWN_SKIP }, { NULL, 0 } };
static const struct choice bounce_names[] = { { "all", BOUNCE_ALL }, { "trusted", BOUNCE_TRUSTED }, { "none", BOUNCE_NONE }, { NULL, 0 } };
static const struct choice listen_bounce_names[] = {
	{ "default", LISTEN_BOUNCE_DEFAULT }, { "yes", LISTEN_BOUNCE_YES }, { "no", LISTEN_BOUNCE_NO }, { NULL, 0 }
};
static const struct choice deterrents_names[] = {
	{ "default", DETERRENTS_DEFAULT }, { "yes", DETERRENTS_YES }, { "no", DETERRENTS_NO }, { NULL, 0 }
};
static const struct choice fail_names[] = {
	{ "default", FAIL_DEFAULT }, { "open", FAIL_OPEN }, { "closed", FAIL_CLOSED }, { NULL, 0 }
};
static const struct choice gate_drop_names[] = { { "silent", GATE_DROP_SILENT }, { "reset", GATE_DROP_RESET }, { NULL, 0 } };
static const struct choice vague_names[] = { { "off", VAGUE_OFF }, { "vague", VAGUE_YES }, { NULL, 0 } };
static const struct choice yes_no_names[] = { { "no", 0 }, { "yes", 1 }, { NULL, 0 } };
static const struct choice mode_names[] = {
	{ "redirect", LISTEN_REDIRECT }, { "tproxy", LISTEN_TPROXY }, { "direct", LISTEN_DIRECT }, { NULL, 0 }
};
static const struct choice trust_names[] = { { "untrusted", 0 }, { "trusted", 1 }, { NULL, 0 } };
static const struct choice identity_names[] = {
	{ "none", IDENTITY_NONE }, { "xforward", IDENTITY_XFORWARD }, { "xclient", IDENTITY_XCLIENT }, { "spoof", IDENTITY_SPOOF }, { NULL, 0 }
};
static const struct choice tls_names[] = {
	{ "none", TLS_NONE }, { "may", TLS_MAY }, { "encrypt", TLS_ENCRYPT }, { "verify", TLS_VERIFY }, { NULL, 0 }
};
static const struct choice milter_fail_names[] = {
	{ "tempfail", MILTER_FAIL_TEMPFAIL }, { "accept", MILTER_FAIL_ACCEPT }, { "reject", MILTER_FAIL_REJECT }, { NULL, 0 }
};
static const struct choice fallback_names[] = {
	{ "wait", IDENTITY_SPOOF }, { "none", IDENTITY_NONE }, { "xforward", IDENTITY_XFORWARD }, { "xclient", IDENTITY_XCLIENT }, { NULL, 0 }
};

#define FIELD(type, field) offsetof(type, field), sizeof(((type *)0)->field)
#define MINUTE 60u
#define HOUR (60u * MINUTE)
#define DAY (24u * HOUR)
#define KI 1024u
#define MI (1024u * KI)
#define GI (1024ull * MI)

static const struct option options[] = {
	{ "hostname", KIND_HOST, FIELD(struct conf, hostname), NULL, 0, 0, NULL },
	{ "spool", KIND_PATH, FIELD(struct conf, spool), "/var/spool/postern", 0, 0, NULL },
	{ "rules", KIND_PATH, FIELD(struct conf, rules), POSTERN_SYSCONFDIR "/postern/rules", 0, 0, NULL },
	{ "filter", KIND_PATH, FIELD(struct conf, filter), "", 0, 0, NULL },
	{ "pid-file", KIND_PATH, FIELD(struct conf, pid_file), "/run/posternd.pid", 0, 0, NULL },
	{ "forward-pid-file", KIND_PATH, FIELD(struct conf, forward_pid_file), "/run/posternfwd.pid", 0, 0, NULL },
	{ "session-user", KIND_TEXT, FIELD(struct conf, session_user), "postern", 0, 0, NULL },
	{ "session-group", KIND_TEXT, FIELD(struct conf, session_group), "", 0, 0, NULL },
	{ "forward-user", KIND_TEXT, FIELD(struct conf, forward_user), "postern-fwd", 0, 0, NULL },
	{ "forward-group", KIND_TEXT, FIELD(struct conf, forward_group), "", 0, 0, NULL },
	{ "gate-user", KIND_TEXT, FIELD(struct conf, gate_user), "", 0, 0, NULL },
	{ "log-level", KIND_CHOICE, FIELD(struct conf, log_level), "info", 0, 0, log_levels },
	{ "workers", KIND_COUNT, FIELD(struct conf, workers), "0", 0, 64, NULL },

	{ "max-size", KIND_SIZE, FIELD(struct conf, max_size_bytes), "50M", 64 * KI, 2 * GI, NULL },
	{ "max-recipients", KIND_COUNT, FIELD(struct conf, max_recipients), "1000", 100, 10000, NULL },
	{ "max-sessions", KIND_COUNT, FIELD(struct conf, max_sessions), "15000", 1, 1000000, NULL },
	{ "max-errors", KIND_COUNT, FIELD(struct conf, max_errors), "20", 1, 10000, NULL },
	{ "max-received", KIND_COUNT, FIELD(struct conf, max_received), "30", 2, 1000, NULL },
	{ "max-own-received", KIND_COUNT, FIELD(struct conf, max_own_received), "3", 1, 1000, NULL },
	{ "command-timeout", KIND_DURATION, FIELD(struct conf, command_timeout_s), "5m", 1, DAY, NULL },
	{ "data-timeout", KIND_DURATION, FIELD(struct conf, data_timeout_s), "3m", 1, DAY, NULL },
	{ "drain-timeout", KIND_DURATION, FIELD(struct conf, drain_timeout_s), "30s", 1, HOUR, NULL },
	{ "bare-lf", KIND_CHOICE, FIELD(struct conf, bare_lf), "reject", 0, 0, bare_lf_names },

	{ "max-client-connections", KIND_COUNT, FIELD(struct conf, max_client_connections), "50", 0, 1000000, NULL },
	{ "client-connection-rate", KIND_COUNT, FIELD(struct conf, client_connection_rate), "0", 0, 1000000, NULL },
	{ "client-recipient-rate", KIND_COUNT, FIELD(struct conf, client_recipient_rate), "0", 0, 1000000, NULL },
	{ "refuse-load-average", KIND_COUNT, FIELD(struct conf, refuse_load_average), "0", 0, 10000, NULL },
	{ "greet-delay", KIND_DURATION, FIELD(struct conf, greet_delay_s), "0", 0, MINUTE, NULL },
	{ "vrfy", KIND_CHOICE, FIELD(struct conf, vrfy), "vague", 0, 0, vague_names },
	{ "expn", KIND_CHOICE, FIELD(struct conf, expn), "off", 0, 0, vague_names },
	{ "need-helo", KIND_CHOICE, FIELD(struct conf, need_helo), "yes", 0, 0, yes_no_names },
	{ "tarpit-after", KIND_COUNT, FIELD(struct conf, tarpit_after), "0", 0, 1000000, NULL },
	{ "tarpit-errors", KIND_COUNT, FIELD(struct conf, tarpit_errors), "10", 0, 10000, NULL },
	{ "tarpit-delay", KIND_DURATION, FIELD(struct conf, tarpit_delay_s), "1s", 1, MINUTE, NULL },
	{ "tarpit-multiplier", KIND_COUNT, FIELD(struct conf, tarpit_multiplier), "2", 1, 100, NULL },
	{ "tarpit-max", KIND_DURATION, FIELD(struct conf, tarpit_max_s), "30s", 1, 4 * MINUTE, NULL },
	{ "tarpit-sessions", KIND_COUNT, FIELD(struct conf, tarpit_sessions), "1000", 0, 100000, NULL },
	{ "tarpit-per-client", KIND_COUNT, FIELD(struct conf, tarpit_per_client), "10", 0, 100000, NULL },
	{ "stutter", KIND_DURATION, FIELD(struct conf, stutter_s), "1s", 1, MINUTE, NULL },
	{ "paranoid", KIND_CHOICE, FIELD(struct conf, paranoid), "no", 0, 0, yes_no_names },

	{ "no-match", KIND_CHOICE, FIELD(struct conf, no_match), "noto", 0, 0, no_match_names },
	{ "on-unknown", KIND_CHOICE, FIELD(struct conf, on_unknown), "tempfail", 0, 0, on_unknown_names },
	{ "deny-delay", KIND_DURATION, FIELD(struct conf, deny_delay_s), "60s", 0, HOUR, NULL },
	{ "noto-delay", KIND_DURATION, FIELD(struct conf, noto_delay_s), "60s", 0, HOUR, NULL },

	{ "gate", KIND_CHOICE, FIELD(struct conf, gate), "yes", 0, 0, yes_no_names },
	{ "gate-queue", KIND_COUNT, FIELD(struct conf, gate_queue), "2525", 0, 65534, NULL },
	{ "gate-drop", KIND_CHOICE, FIELD(struct conf, gate_drop), "silent", 0, 0, gate_drop_names },
	{ "tarpit-syn-rate", KIND_COUNT, FIELD(struct conf, tarpit_syn_rate), "1000", 0, 1000000, NULL },
	{ "block-time", KIND_DURATION, FIELD(struct conf, block_time_s), "1h", MINUTE, 365 * DAY, NULL },
	{ "pass-time", KIND_DURATION, FIELD(struct conf, pass_time_s), "36d", MINUTE, 365 * DAY, NULL },
	{ "dead-after", KIND_DURATION, FIELD(struct conf, dead_after_s), "5s", 2, MINUTE, NULL },

	{ "check-command", KIND_COMMAND, FIELD(struct conf, check_command), "", 0, 0, NULL },
	{ "check-timeout", KIND_DURATION, FIELD(struct conf, check_timeout_s), "60s", 1, 4 * MINUTE, NULL },
	{ "check-jobs", KIND_COUNT, FIELD(struct conf, check_jobs), "10", 1, 100, NULL },
	{ "check-user", KIND_TEXT, FIELD(struct conf, check_user), "postern-check", 0, 0, NULL },
	{ "check-group", KIND_TEXT, FIELD(struct conf, check_group), "", 0, 0, NULL },
	{ "check-chroot", KIND_PATH, FIELD(struct conf, check_chroot), "/", 0, 0, NULL },
	{ "check-dir", KIND_PATH, FIELD(struct conf, check_dir), "/var/spool/postern-check", 0, 0, NULL },

	{ "resolver", KIND_SERVERS, FIELD(struct conf, resolver), "", 0, 0, NULL },
	{ "dns-deadline", KIND_DURATION, FIELD(struct conf, dns_deadline_s), "15s", 1, 5 * MINUTE, NULL },
	{ "ident-timeout", KIND_DURATION, FIELD(struct conf, ident_timeout_s), "10s", 0, 5 * MINUTE, NULL },
	{ "list-check", KIND_DURATION, FIELD(struct conf, list_check_s), "1h", 0, 30 * DAY, NULL },
	{ "check-sender-domain", KIND_CHOICE, FIELD(struct conf, check_sender_domain), "no", 0, 0, yes_no_names },

	{ "verify-timeout", KIND_DURATION, FIELD(struct conf, verify_timeout_s), "10s", 1, 5 * MINUTE, NULL },
	{ "verify-keep-yes", KIND_DURATION, FIELD(struct conf, verify_keep_yes_s), "31d", 1, 365 * DAY, NULL },
	{ "verify-keep-no", KIND_DURATION, FIELD(struct conf, verify_keep_no_s), "3h", 1, 30 * DAY, NULL },

	{ "milter", KIND_MILTERS, FIELD(struct conf, milter), "", 0, 0, NULL },
	{ "milter-fail", KIND_CHOICE, FIELD(struct conf, milter_fail), "tempfail", 0, 0, milter_fail_names },
	{ "milter-connect-timeout", KIND_DURATION, FIELD(struct conf, milter_connect_timeout_s), "10s", 1, HOUR, NULL },
	{ "milter-command-timeout", KIND_DURATION, FIELD(struct conf, milter_command_timeout_s), "30s", 1, HOUR, NULL },
	{ "milter-content-timeout", KIND_DURATION, FIELD(struct conf, milter_content_timeout_s), "5m", 1, HOUR, NULL },
	{ "milter-deadline", KIND_DURATION, FIELD(struct conf, milter_deadline_s), "8m", 1, HOUR, NULL },

	{ "min-free-space", KIND_SIZE, FIELD(struct conf, min_free_bytes), "64M", 0, 1024 * GI, NULL },
	{ "min-free-inodes", KIND_COUNT, FIELD(struct conf, min_free_inodes), "1000", 0, 1000000000, NULL },
	{ "segment-size", KIND_SIZE, FIELD(struct conf, segment_bytes), "64M", MI, 4 * GI, NULL },

	{ "queue-lifetime", KIND_DURATION, FIELD(struct conf, queue_lifetime_s), "5d", MINUTE, 100 * DAY, NULL },
	{ "queue-warn", KIND_DURATION, FIELD(struct conf, queue_warn_s), "4h", 0, 100 * DAY, NULL },
	{ "retry-min", KIND_DURATION, FIELD(struct conf, retry_min_s), "1m", 1, DAY, NULL },
	{ "retry-max", KIND_DURATION, FIELD(struct conf, retry_max_s), "1h", 1, 10 * DAY, NULL },
	{ "min-queue-age", KIND_DURATION, FIELD(struct conf, min_queue_age_s), "0", 0, 10 * DAY, NULL },
	{ "queue-load-average", KIND_COUNT, FIELD(struct conf, queue_load_average), "0", 0, 10000, NULL },
	{ "destination-connections", KIND_COUNT, FIELD(struct conf, destination_connections), "20", 1, 1000, NULL },
	{ "connect-timeout", KIND_DURATION, FIELD(struct conf, connect_timeout_s), "30s", 1, HOUR, NULL },
	{ "reply-timeout", KIND_DURATION, FIELD(struct conf, reply_timeout_s), "5m", 1, HOUR, NULL },
	{ "keep-idle", KIND_DURATION, FIELD(struct conf, keep_idle_s), "5s", 0, HOUR, NULL },
	{ "sendmail-children", KIND_COUNT, FIELD(struct conf, sendmail_children), "10", 1, 1000, NULL },
	{ "bounce", KIND_CHOICE, FIELD(struct conf, bounce), "trusted", 0, 0, bounce_names },
	{ "tls-ca-file", KIND_PATH, FIELD(struct conf, tls_ca_file), "/etc/ssl/certs/ca-certificates.crt", 0, 0, NULL },
	{ "bounce-tls", KIND_CHOICE, FIELD(struct conf, bounce_tls), "may", 0, 0, tls_names },
	{ "bounce-via", KIND_FORWARD, FIELD(struct conf, bounce_via), "sendmail:/usr/sbin/sendmail", 0, 0, NULL },
};

static const struct option listen_options[] = {
	{ "mode", KIND_CHOICE, FIELD(struct conf_listen, mode), "redirect", 0, 0, mode_names },
	{ "port", KIND_COUNT, FIELD(struct conf_listen, port), "0", 0, 65535, NULL },
	{ "address", KIND_TEXT, FIELD(struct conf_listen, address), "", 0, 0, NULL },
	{ "conntrack-zone", KIND_COUNT, FIELD(struct conf_listen, conntrack_zone), "0", 0, 65535, NULL },
	{ "proxy-protocol", KIND_NETS, FIELD(struct conf_listen, balancers), "", 0, 0, NULL },
	{ "trust", KIND_CHOICE, FIELD(struct conf_listen, trusted), "untrusted", 0, 0, trust_names },
	{ "deterrents", KIND_CHOICE, FIELD(struct conf_listen, deterrents), "default", 0, 0, deterrents_names },
	{ "fail", KIND_CHOICE, FIELD(struct conf_listen, fail), "default", 0, 0, fail_names },
	{ "forward", KIND_FORWARD, FIELD(struct conf_listen, forward), "original", 0, 0, NULL },
	{ "identity", KIND_CHOICE, FIELD(struct conf_listen, identity), "none", 0, 0, identity_names },
	{ "bounce", KIND_CHOICE, FIELD(struct conf_listen, bounce), "default", 0, 0, listen_bounce_names },
	{ "spoof-fallback", KIND_CHOICE, FIELD(struct conf_listen, spoof_fallback), "wait", 0, 0, fallback_names },
	{ "verify-recipients", KIND_CHOICE, FIELD(struct conf_listen, verify_recipients), "no", 0, 0, yes_no_names },
	{ "tls", KIND_CHOICE, FIELD(struct conf_listen, tls), "may", 0, 0, tls_names },
	{ "tls-name", KIND_TEXT, FIELD(struct conf_listen, tls_name), "", 0, 0, NULL },
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* libconfuse's error callback has no context argument: the parse that is under way. */
static struct reason *parse_reason;
static const char *parse_path;

__attribute__((format(printf, 2, 0))) static void keep_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[REASON_CAP];
	(void)vsnprintf(text, sizeof text, fmt, ap);
	/* The first error is the cause; later ones follow from it. */
	if (parse_reason && !parse_reason->text[0])
		reason_set(parse_reason, ERR_SYNTAX, "%s:%d: %s", parse_path, cfg ? cfg->line : 0,
			   strstr(text, END_OPTION) ? "the last section is not closed: expected }" : text);
}

static int parse_scaled(struct span text, const char *units, const uint64_t *factors, uint64_t *out)
{
	uint64_t factor = 1, value;
	const char *unit = text.len ? strchr(units, text.ptr[text.len - 1]) : NULL;
	if (unit && *unit) {
		factor = factors[unit - units];
		text.len--;
	}
	int err = span_to_u64(text, UINT64_MAX / factor, &value);
	if (!err)
		*out = value * factor;
	return err;
}

int conf_parse_duration(struct span text, uint64_t *seconds_out)
{
	static const uint64_t factors[] = { 1, MINUTE, HOUR, DAY, 7 * DAY };
	return parse_scaled(text, "smhdw", factors, seconds_out);
}

int conf_parse_size(struct span text, uint64_t *bytes_out)
{
	static const uint64_t factors[] = { KI, KI, MI, MI, GI, GI };
	return parse_scaled(text, "kKmMgG", factors, bytes_out);
}

/* Run without a shell: nobody would take quotes, variables or pipes out of it. */
int conf_check_command(const char *name, const char *text, struct reason *why)
{
	size_t words = 0;
	for (size_t i = 0; text[i]; i++)
		words += text[i] != ' ' && text[i] != '\t' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t');
	if (text[0] && text[0] != '/')
		return reason_set(why, ERR_INVAL, "%s = '%s': expected a program with its path from / on, and words for it", name, text);
	if (strpbrk(text, "\"'`$|;&<>\\\r\n"))
		return reason_set(why, ERR_INVAL, "%s = '%s': is run without a shell: quotes and the like mean nothing; name a script instead", name, text);
	if (words > CONF_COMMAND_WORDS_MAX)
		return reason_set(why, ERR_INVAL, "%s: at most %d words", name, CONF_COMMAND_WORDS_MAX);
	return 0;
}

static int expect_range(const struct option *opt, const char *text, struct reason *why)
{
	const char *what = opt->kind == KIND_DURATION ? "a time in seconds (or with s, m, h, d)" :
			   opt->kind == KIND_SIZE     ? "a size in bytes (or with K, M, G)" :
							"a number";
	return reason_set(why, ERR_INVAL, "%s = '%s': expected %s from %llu to %llu", opt->name, text, what,
			  (unsigned long long)opt->min, (unsigned long long)opt->max);
}

static int set_choice(const struct option *opt, const char *text, uint64_t *out, struct reason *why)
{
	char names[128] = "";
	size_t len = 0;
	for (const struct choice *c = opt->choices; c->name; c++) {
		if (strcmp(c->name, text) == 0) {
			*out = c->value;
			return 0;
		}
		int n = snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "", c->name);
		if (n > 0 && (size_t)n < sizeof names - len)
			len += (size_t)n;
	}
	return reason_set(why, ERR_INVAL, "%s = '%s': expected one of %s", opt->name, text, names);
}

static int set_nets(const struct option *opt, const char *text, struct cidr_list *out, struct reason *why)
{
	int err = cidr_list_parse(span_of(text), out, why);
	if (err)
		return reason_prefix(why, err, "%s", opt->name);
	for (size_t i = 0; i < out->count; i++)
		if (out->nets[i].bits == 0)
			return reason_set(why, ERR_INVAL, "%s = '%s': a network of all addresses would let everybody claim to be anybody", opt->name, text);
	return 0;
}

bool conf_is_hostname(struct span name)
{
	struct addr literal;
	return smtp_domain_is_valid(name, false) || smtp_literal_parse(name, &literal) == 0;
}

/* Check one value; on success write it to its place in base (which may be NULL: only check). */
static int set_option(const struct option *opt, const char *text, void *base, struct reason *why)
{
	union {
		uint64_t number;
		struct forward_spec forward;
		struct cidr_list nets;
	} value = { 0 };
	struct name_servers servers;
	struct milter_specs milters;
	size_t len = strlen(text);
	int err = 0;
	switch (opt->kind) {
	case KIND_MILTERS:
		err = milter_specs_parse(span_of(text), &(struct milter_defaults){ .fail = MILTER_FAIL_TEMPFAIL }, &milters, why);
		if (err)
			return reason_prefix(why, err, "%s", opt->name);
		__attribute__((fallthrough));
	case KIND_SERVERS:
		err = opt->kind == KIND_SERVERS && text[0] ? name_servers_parse(span_of(text), &servers, why) : 0;
		if (err)
			return reason_prefix(why, err, "%s", opt->name);
		__attribute__((fallthrough));
	case KIND_COMMAND:
		err = opt->kind == KIND_COMMAND ? conf_check_command(opt->name, text, why) : 0;
		if (err)
			return err;
		__attribute__((fallthrough));
	case KIND_PATH:
		/* Empty, where that is the default: none. */
		if (opt->kind == KIND_PATH && text[0] != '/' && (text[0] || opt->preset[0]))
			return reason_set(why, ERR_INVAL, "%s = '%s': expected a path that begins with /", opt->name, text);
		__attribute__((fallthrough));
	case KIND_HOST:
		if (opt->kind == KIND_HOST && !conf_is_hostname(span_of(text)))
			return reason_set(why, ERR_INVAL, "%s = '%s': expected a host name such as mail.example.com", opt->name, text);
		__attribute__((fallthrough));
	case KIND_TEXT:
		if (len >= opt->cap)
			return reason_set(why, ERR_TOOLONG, "%s is too long: at most %zu bytes", opt->name, opt->cap - 1);
		if (base)
			memcpy((char *)base + opt->offset, text, len + 1);
		return 0;
	case KIND_COUNT:
		err = span_to_u64(span_of(text), UINT64_MAX, &value.number);
		break;
	case KIND_DURATION:
		err = conf_parse_duration(span_of(text), &value.number);
		break;
	case KIND_SIZE:
		err = conf_parse_size(span_of(text), &value.number);
		break;
	case KIND_CHOICE:
		err = set_choice(opt, text, &value.number, why);
		if (err)
			return err;
		break;
	case KIND_NETS:
		err = set_nets(opt, text, &value.nets, why);
		if (err)
			return err;
		break;
	case KIND_FORWARD:
		err = forward_spec_parse(span_of(text), &value.forward, why);
		if (err)
			return reason_prefix(why, err, "%s", opt->name);
		/* Said here, where the line is known. */
		if (strcmp(opt->name, "bounce-via") == 0 &&
		    (value.forward.kind == FORWARD_LMTP || value.forward.kind == FORWARD_LMTP_UNIX))
			return reason_set(why, ERR_INVAL, "bounce-via = '%s': expected original, smtp:HOST:PORT or sendmail:/path/prog", text);
		break;
	}
	bool has_range = opt->kind == KIND_COUNT || opt->kind == KIND_DURATION || opt->kind == KIND_SIZE;
	if (err || (has_range && (value.number < opt->min || value.number > opt->max)))
		return expect_range(opt, text, why);
	if (base)
		memcpy((char *)base + opt->offset, &value,
		       opt->kind == KIND_FORWARD ? sizeof value.forward :
		       opt->kind == KIND_NETS	 ? sizeof value.nets :
						   sizeof value.number);
	return 0;
}

static const struct option *find_option(const char *name, bool in_listen)
{
	const struct option *table = in_listen ? listen_options : options;
	size_t count = in_listen ? COUNT(listen_options) : COUNT(options);
	for (size_t i = 0; i < count; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

/* Called by libconfuse as soon as a value is read, while it still knows the line. */
static int validate(cfg_t *cfg, cfg_opt_t *opt)
{
	struct reason why = { "" };
	const struct option *known = find_option(opt->name, strcmp(cfg->name, "listen") == 0);
	const char *text = cfg_opt_getnstr(opt, 0);
	if (!known || !text || set_option(known, text, NULL, &why) == 0)
		return 0;
	cfg_error(cfg, "%s", why.text);
	return -1;
}

static int check_listen_verify(const struct conf_listen *l, struct reason *why)
{
	if (l->verify_recipients && l->forward.kind == FORWARD_SENDMAIL)
		return reason_set(why, ERR_INVAL, "listen \"%s\": verify-recipients: a program can't be asked; forward must be a server", l->iface);
	return 0;
}

static int check_listen_tls(const struct conf_listen *l, struct reason *why)
{
	bool is_needed = l->tls == TLS_ENCRYPT || l->tls == TLS_VERIFY;
	if (l->tls_name[0] && !conf_is_hostname(span_of(l->tls_name)))
		return reason_set(why, ERR_INVAL, "listen \"%s\": tls-name = '%s': expected a host name such as mail.example.com", l->iface,
				  l->tls_name);
	if (is_needed && (l->forward.kind == FORWARD_SENDMAIL || l->forward.kind == FORWARD_LMTP_UNIX))
		return reason_set(why, ERR_INVAL, "listen \"%s\": tls: there is none to a program or a unix socket", l->iface);
	if (l->tls == TLS_VERIFY && l->forward.kind == FORWARD_ORIGINAL && !l->tls_name[0])
		return reason_set(why, ERR_INVAL,
				  "listen \"%s\": tls = verify with forward = original: tls-name has to say whose certificate is expected",
				  l->iface);
	return 0;
}

static int check_listen(struct conf *conf, struct conf_listen *l, struct reason *why)
{
	static const uint64_t ports[] = { [LISTEN_REDIRECT] = 2525, [LISTEN_TPROXY] = 2526, [LISTEN_DIRECT] = 25 };
	struct addr address;
	if (l->port == 0)
		l->port = ports[l->mode];
	if (strcmp(l->iface, "*") == 0 && l->mode != LISTEN_DIRECT)
		return reason_set(why, ERR_INVAL, "listen \"*\": diverted traffic comes from one interface: name it, or say mode = direct");
	if (l->address[0] && addr_parse(span_of(l->address), &address))
		return reason_set(why, ERR_INVAL, "listen \"%s\": address = '%s': expected an IPv4 or IPv6 address", l->iface, l->address);
	if (l->address[0] && l->mode != LISTEN_DIRECT)
		return reason_set(why, ERR_INVAL, "listen \"%s\": address works with mode = direct only", l->iface);
	if (l->conntrack_zone && l->mode != LISTEN_REDIRECT)
		return reason_set(why, ERR_INVAL, "listen \"%s\": conntrack-zone works with mode = redirect only: else nobody asks connection tracking",
				  l->iface);
	if (l->balancers.count && l->mode != LISTEN_DIRECT)
		return reason_set(why, ERR_INVAL, "listen \"%s\": proxy-protocol works with mode = direct only: a balancer connects to this host itself",
				  l->iface);
	if (l->mode == LISTEN_DIRECT && l->forward.kind == FORWARD_ORIGINAL)
		return reason_set(why, ERR_INVAL,
				  "listen \"%s\": forward = original needs a diverted connection; with mode = direct say smtp:HOST:PORT, "
				  "lmtp:... or sendmail:/path/prog",
				  l->iface);
	for (uint64_t i = 0; i + 1 < conf->listen_count; i++)
		if (conf->listen[i].port == l->port && strcmp(conf->listen[i].iface, l->iface) == 0)
			return reason_set(why, ERR_INVAL, "listen \"%s\": port %u is listened on twice", l->iface, (unsigned)l->port);
	if (l->mode == LISTEN_DIRECT && l->fail == FAIL_OPEN)
		return reason_set(why, ERR_INVAL, "listen \"%s\": fail = open: with mode = direct there is nobody else to let connections through to",
				  l->iface);
	int err = check_listen_verify(l, why);
	return err ? err : check_listen_tls(l, why);
}

static int read_listen(cfg_t *sec, struct conf *conf, struct reason *why)
{
	const char *title = cfg_title(sec);
	if (conf->listen_count == CONF_LISTEN_MAX)
		return reason_set(why, ERR_TOOLONG, "too many listen sections: at most %d", CONF_LISTEN_MAX);
	struct conf_listen *l = &conf->listen[conf->listen_count];
	memset(l, 0, sizeof *l);
	if (!title || !title[0] || strlen(title) >= sizeof l->iface)
		return reason_set(why, ERR_INVAL, "listen needs an interface name of 1 to %zu bytes as its title", sizeof l->iface - 1);
	memcpy(l->iface, title, strlen(title) + 1);
	for (size_t i = 0; i < COUNT(listen_options); i++) {
		int err = set_option(&listen_options[i], cfg_getstr(sec, listen_options[i].name), l, why);
		if (err)
			return err;
	}
	conf->listen_count++;
	return check_listen(conf, l, why);
}

static void find_hostname(char *out, size_t cap)
{
	struct addrinfo hints = { .ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM }, *found = NULL;
	char name[CONF_NAME_CAP] = "localhost";
	(void)gethostname(name, sizeof name - 1);
	/* A greeting wants a full name (RFC 5321 section 4.2); /etc/hosts usually has it. */
	if (!strchr(name, '.') && getaddrinfo(name, NULL, &hints, &found) == 0 && found->ai_canonname && strchr(found->ai_canonname, '.'))
		(void)snprintf(out, cap, "%s", found->ai_canonname);
	else
		(void)snprintf(out, cap, "%s", name);
	if (found)
		freeaddrinfo(found);
}

void conf_default_hostname(struct conf *conf)
{
	/* A daemon that reads its file again must neither wait for a dead resolver nor change its name because of it. */
	static char own[CONF_NAME_CAP];
	if (conf->hostname[0])
		return;
	if (!own[0])
		find_hostname(own, sizeof own);
	memcpy(conf->hostname, own, sizeof own);
}

bool conf_is_full_hostname(const char *name)
{
	bool is_localhost = strncasecmp(name, "localhost", 9) == 0 && (name[9] == '\0' || name[9] == '.');
	return !is_localhost && (name[0] == '[' || strchr(name, '.'));
}

void conf_defaults(struct conf *conf)
{
	memset(conf, 0, sizeof *conf);
	for (size_t i = 0; i < COUNT(options); i++)
		if (options[i].preset)
			(void)set_option(&options[i], options[i].preset, conf, NULL);
}

static int check_whole(struct conf *conf, const char *path, struct reason *why)
{
	if (conf->listen_count == 0)
		return reason_set(why, ERR_INVAL, "%s: no listen section: nothing to do; expected listen \"INTERFACE\" { mode = redirect }", path);
	if (conf->bounce_via.kind == FORWARD_ORIGINAL && conf->bounce_tls == TLS_VERIFY)
		return reason_set(why, ERR_INVAL, "%s: bounce-tls = verify needs a name: it does not go with bounce-via = original", path);
	if (conf->retry_min_s > conf->retry_max_s)
		return reason_set(why, ERR_INVAL, "%s: retry-min is longer than retry-max", path);
	return 0;
}

static int take_values(cfg_t *cfg, const char *path, struct conf *conf, struct reason *why)
{
	for (size_t i = 0; i < COUNT(options); i++) {
		const char *text = cfg_getstr(cfg, options[i].name);
		int err = text ? set_option(&options[i], text, conf, why) : 0;
		if (err)
			return reason_prefix(why, err, "%s", path);
	}
	for (unsigned i = 0; i < cfg_size(cfg, "listen"); i++) {
		cfg_t *sec = cfg_getnsec(cfg, "listen", i);
		int err = read_listen(sec, conf, why);
		if (err)
			return reason_prefix(why, err, "%s:%d", path, sec->line);
	}
	return check_whole(conf, path, why);
}

static void fill_opts(cfg_opt_t *to, const struct option *from, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		cfg_opt_t opt = CFG_STR(from[i].name, (char *)(uintptr_t)from[i].preset, CFGF_NONE);
		to[i] = opt;
	}
}

/* The whole file as text, with the end option behind it. */
static int read_file(const char *path, struct buf *out, struct reason *why)
{
	struct stat st;
	/* A FIFO would be waited for for ever, and a directory read as an empty file. */
	if (stat(path, &st) != 0)
		return reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return reason_set(why, ERR_INVAL, "%s: not a regular file", path);
	FILE *file = fopen(path, "re");
	if (!file)
		return reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	char chunk[4096];
	size_t n;
	int err = 0;
	while (!err && (n = fread(chunk, 1, sizeof chunk, file)) > 0)
		err = buf_append(out, chunk, n);
	if (err)
		reason_set(why, err, "%s: larger than any configuration", path);
	else if (ferror(file))
		err = reason_set(why, ERR_IO, "%s: cannot be read", path);
	else if (memchr(buf_span(out).ptr ? buf_span(out).ptr : "", '\0', out->len))
		err = reason_set(why, ERR_SYNTAX, "%s: a NUL byte in it: not a text file", path);
	(void)fclose(file);
	if (!err && out->len && out->data[out->len - 1] != '\n')
		err = buf_append(out, "\n", 1);
	/* With its NUL: cfg_parse_buf() wants a string. */
	return err ? err : buf_append(out, END_OPTION " = here\n", sizeof END_OPTION " = here\n");
}

int conf_read(const char *path, struct conf *out, struct reason *why)
{
	cfg_opt_t listen_opts[COUNT(listen_options) + 1] = { CFG_END() };
	cfg_opt_t opts[COUNT(options) + 3] = { CFG_END() };
	cfg_opt_t behind = CFG_STR(END_OPTION, NULL, CFGF_NONE);
	cfg_opt_t section = CFG_SEC("listen", listen_opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	cfg_opt_t end = CFG_END();
	struct reason first = { "" };
	struct conf conf;
	struct buf text = { .cap = FILE_CAP };

	int err = read_file(path, &text, why);
	if (err) {
		buf_free(&text);
		return err;
	}
	fill_opts(listen_opts, listen_options, COUNT(listen_options));
	listen_opts[COUNT(listen_options)] = end;
	fill_opts(opts, options, COUNT(options));
	opts[COUNT(options)] = section;
	opts[COUNT(options) + 1] = behind;
	opts[COUNT(options) + 2] = end;

	cfg_t *cfg = cfg_init(opts, CFGF_NONE);
	if (!cfg) {
		buf_free(&text);
		return reason_set(why, ERR_NOMEM, "%s: no memory", path);
	}
	(void)cfg_set_error_function(cfg, keep_error);
	for (size_t i = 0; i < COUNT(options); i++)
		(void)cfg_set_validate_func(cfg, options[i].name, validate);
	for (size_t i = 0; i < COUNT(listen_options); i++) {
		char name[64];
		(void)snprintf(name, sizeof name, "listen|%s", listen_options[i].name);
		(void)cfg_set_validate_func(cfg, name, validate);
	}
	conf_defaults(&conf);
	parse_reason = &first;
	parse_path = path;
	int status = cfg_parse_buf(cfg, text.data);
	parse_reason = NULL;
	buf_free(&text);
	if (status != CFG_SUCCESS)
		err = reason_set(why, ERR_SYNTAX, "%s%s", first.text[0] ? "" : path, first.text[0] ? first.text : ": cannot be parsed");
	else
		err = take_values(cfg, path, &conf, why);
	(void)cfg_free(cfg);
	if (err)
		return err;
	conf_default_hostname(&conf);
	*out = conf;
	return 0;
}

bool conf_listen_deters(const struct conf_listen *l)
{
	return l->deterrents == DETERRENTS_DEFAULT ? !l->trusted : l->deterrents == DETERRENTS_YES;
}

void conf_milters(const struct conf *conf, struct milter_specs *out)
{
	const struct milter_defaults defaults = {
		(enum milter_fail)conf->milter_fail, conf->milter_connect_timeout_s, conf->milter_command_timeout_s, conf->milter_content_timeout_s
	};
	if (milter_specs_parse(span_of(conf->milter), &defaults, out, NULL) != 0)
		out->count = 0;
}

const struct conf_listen *conf_find_listen(const struct conf *conf, const char *iface)
{
	for (uint64_t i = 0; i < conf->listen_count; i++)
		if (strcmp(conf->listen[i].iface, iface) == 0)
			return &conf->listen[i];
	return NULL;
}

static const char *choice_name(const struct choice *choices, uint64_t value)
{
	for (; choices->name; choices++)
		if (choices->value == value)
			return choices->name;
	return "?";
}

const char *conf_listen_mode_name(uint64_t mode)
{
	return choice_name(mode_names, mode);
}

const char *conf_listen_fail_name(uint64_t fail)
{
	return choice_name(fail_names, fail);
}

const char *conf_identity_name(uint64_t identity)
{
	return choice_name(identity_names, identity);
}
