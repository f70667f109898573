#include "conf_options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "name_servers.h"

static const struct conf_choice log_levels[] = { { "err", 3 }, { "warn", 4 }, { "info", 6 }, { "debug", 7 }, { NULL, 0 } };
static const struct conf_choice bare_lf_names[] = { { "reject", BARE_LF_REJECT }, { "normalize", BARE_LF_NORMALIZE }, { NULL, 0 } };
static const struct conf_choice no_match_names[] = { { "noto", NO_MATCH_NOTO }, { "allow", NO_MATCH_ALLOW }, { NULL, 0 } };
static const struct conf_choice on_unknown_names[] = { { "tempfail", ON_UNKNOWN_TEMPFAIL }, { "skip", ON_UNKNOWN_SKIP }, { NULL, 0 } };
static const struct conf_choice bounce_names[] = { { "all", BOUNCE_ALL }, { "trusted", BOUNCE_TRUSTED }, { "none", BOUNCE_NONE }, { NULL, 0 } };
static const struct conf_choice listen_bounce_names[] = {
	{ "default", LISTEN_BOUNCE_DEFAULT }, { "yes", LISTEN_BOUNCE_YES }, { "no", LISTEN_BOUNCE_NO }, { NULL, 0 }
};
static const struct conf_choice deterrents_names[] = {
	{ "default", DETERRENTS_DEFAULT }, { "yes", DETERRENTS_YES }, { "no", DETERRENTS_NO }, { NULL, 0 }
};
static const struct conf_choice fail_names[] = {
	{ "default", FAIL_DEFAULT }, { "open", FAIL_OPEN }, { "closed", FAIL_CLOSED }, { NULL, 0 }
};
static const struct conf_choice filter_undecoded_names[] = { { "pass", FILTER_UNDECODED_PASS }, { "refuse", FILTER_UNDECODED_REFUSE }, { NULL, 0 } };
static const struct conf_choice gate_drop_names[] = { { "silent", GATE_DROP_SILENT }, { "reset", GATE_DROP_RESET }, { NULL, 0 } };
static const struct conf_choice vague_names[] = { { "off", VAGUE_OFF }, { "vague", VAGUE_YES }, { NULL, 0 } };
static const struct conf_choice yes_no_names[] = { { "no", 0 }, { "yes", 1 }, { NULL, 0 } };
static const struct conf_choice mode_names[] = {
	{ "redirect", LISTEN_REDIRECT }, { "tproxy", LISTEN_TPROXY }, { "direct", LISTEN_DIRECT }, { NULL, 0 }
};
static const struct conf_choice trust_names[] = { { "untrusted", 0 }, { "trusted", 1 }, { NULL, 0 } };
static const struct conf_choice identity_names[] = {
	{ "none", IDENTITY_NONE }, { "xforward", IDENTITY_XFORWARD }, { "xclient", IDENTITY_XCLIENT }, { "spoof", IDENTITY_SPOOF }, { NULL, 0 }
};
static const struct conf_choice tls_names[] = {
	{ "none", TLS_NONE }, { "may", TLS_MAY }, { "encrypt", TLS_ENCRYPT }, { "verify", TLS_VERIFY }, { NULL, 0 }
};
static const struct conf_choice milter_fail_names[] = {
	{ "tempfail", MILTER_FAIL_TEMPFAIL }, { "accept", MILTER_FAIL_ACCEPT }, { "reject", MILTER_FAIL_REJECT }, { NULL, 0 }
};
static const struct conf_choice fallback_names[] = {
	{ "wait", IDENTITY_SPOOF }, { "none", IDENTITY_NONE }, { "xforward", IDENTITY_XFORWARD }, { "xclient", IDENTITY_XCLIENT }, { NULL, 0 }
};

#define FIELD(type, field) offsetof(type, field), sizeof(((type *)0)->field)
#define MINUTE 60u
#define HOUR (60u * MINUTE)
#define DAY (24u * HOUR)
#define KI 1024u
#define MI (1024u * KI)
#define GI (1024ull * MI)

static const struct conf_option file_options[] = {
	{ "hostname", KIND_HOST, FIELD(struct conf, hostname), NULL, 0, 0, NULL },
	{ "spool", KIND_PATH, FIELD(struct conf, spool), "/var/spool/postern", 0, 0, NULL },
	{ "rules", KIND_PATH, FIELD(struct conf, rules), POSTERN_SYSCONFDIR "/postern/rules", 0, 0, NULL },
	{ "filter", KIND_PATH, FIELD(struct conf, filter), "", 0, 0, NULL },
	{ "filter-undecoded", KIND_CHOICE, FIELD(struct conf, filter_undecoded), "pass", 0, 0, filter_undecoded_names },
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
	{ "tarpit-time", KIND_DURATION, FIELD(struct conf, tarpit_time_s), "0", 0, 365 * DAY, NULL },
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

static const struct conf_option listen_options[] = {
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
_Static_assert(COUNT(file_options) <= CONF_OPTIONS_MAX && COUNT(listen_options) <= CONF_OPTIONS_MAX, "what conf.c has room for");

const struct conf_option_table conf_options = { file_options, COUNT(file_options) };
const struct conf_option_table conf_listen_options = { listen_options, COUNT(listen_options) };

const struct conf_option *conf_option_find(const struct conf_option_table *table, const char *name)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcmp(table->options[i].name, name) == 0)
			return &table->options[i];
	return NULL;
}

const char *conf_option_word(const struct conf_option_table *table, const char *name, uint64_t value)
{
	const struct conf_option *opt = conf_option_find(table, name);
	for (const struct conf_choice *c = opt ? opt->choices : NULL; c && c->name; c++)
		if (c->value == value)
			return c->name;
	return "?";
}

static int expect_range(const struct conf_option *opt, const char *text, struct reason *why)
{
	const char *what = opt->kind == KIND_DURATION ? "a time in seconds (or with s, m, h, d, w)" :
			   opt->kind == KIND_SIZE     ? "a size in bytes (or with K, M, G)" :
							"a number";
	return reason_set(why, ERR_INVAL, "%s = '%s': expected %s from %llu to %llu", opt->name, text, what,
			  (unsigned long long)opt->min, (unsigned long long)opt->max);
}

static int set_choice(const struct conf_option *opt, const char *text, uint64_t *out, struct reason *why)
{
	char names[128] = "";
	size_t len = 0;
	for (const struct conf_choice *c = opt->choices; c->name; c++) {
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

static int set_nets(const struct conf_option *opt, const char *text, struct cidr_list *out, struct reason *why)
{
	int err = cidr_list_parse(span_of(text), out, why);
	if (err)
		return reason_prefix(why, err, "%s", opt->name);
	for (size_t i = 0; i < out->count; i++)
		if (out->nets[i].bits == 0)
			return reason_set(why, ERR_INVAL, "%s = '%s': a network of all addresses would let everybody claim to be anybody", opt->name, text);
	return 0;
}

int conf_option_set(const struct conf_option *opt, const char *text, void *base, struct reason *why)
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
