/* conf.h - postern.conf: the one configuration of posternd, posternfwd and postern, read with libconfuse (its only home).
 * A struct conf owns no memory and holds no pointer: it can be copied, compared, and sent to a role as bytes.
 * Every option has a default, a unit and a range: the table in conf_options.c is the truth, postern.conf(5) tells it.
 * Fails: ERR_SYNTAX or ERR_INVAL with a reason that begins with FILE:LINE.
 */
#ifndef POSTERN_CONF_H
#define POSTERN_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "cidr_list.h"
#include "err.h"
#include "forward_spec.h"
#include "milter_spec.h"
#include "tls.h"

#define CONF_LISTEN_MAX 32
#define CONF_PATH_CAP 192
#define CONF_NAME_CAP 256
#define CONF_USER_CAP 64
#define CONF_COMMAND_CAP 512
#define CONF_COMMAND_WORDS_MAX 32 /* of the command itself */
#define CONF_MILTER_CAP 1536

/* The mark bit of sockets that we open ourselves; scripts/postern-divert never diverts it. */
#define CONF_OWN_MARK 0x40000000u
/* The mark bit that it puts on TPROXY traffic; accepted sockets carry it where net.ipv4.tcp_fwmark_accept is 1. */
#define CONF_TPROXY_MARK 0x20000000u
/* By these its rules say to one another that a packet is to be queued. */
#define CONF_QUEUE_MARKS 0x18000000u

enum listen_mode { LISTEN_REDIRECT, LISTEN_TPROXY, LISTEN_DIRECT };
enum bare_lf { BARE_LF_REJECT, BARE_LF_NORMALIZE };
enum no_match { NO_MATCH_NOTO, NO_MATCH_ALLOW };
enum on_unknown { ON_UNKNOWN_TEMPFAIL, ON_UNKNOWN_SKIP };
enum bounce { BOUNCE_ALL, BOUNCE_TRUSTED, BOUNCE_NONE };
enum listen_deterrents { DETERRENTS_DEFAULT, DETERRENTS_YES, DETERRENTS_NO };
enum filter_undecoded { FILTER_UNDECODED_PASS, FILTER_UNDECODED_REFUSE };
enum gate_drop { GATE_DROP_SILENT, GATE_DROP_RESET };
enum vague { VAGUE_OFF, VAGUE_YES };
enum listen_fail { FAIL_DEFAULT, FAIL_OPEN, FAIL_CLOSED };
enum listen_bounce { LISTEN_BOUNCE_DEFAULT, LISTEN_BOUNCE_YES, LISTEN_BOUNCE_NO };

/* One `listen "IFACE" { ... }` section. */
struct conf_listen {
	char iface[16];    /* the title; "*" listens on every interface (direct mode only) */
	uint64_t mode;     /* enum listen_mode */
	uint64_t port;     /* 0 in the file: 2525 redirect, 2526 tproxy, 25 direct */
	char address[ADDR_TEXT_CAP]; /* direct mode: bind to this address only; empty = any */
	uint64_t trusted;  /* bool */
	uint64_t conntrack_zone; /* redirect mode: where the diverted connections are; 0: SO_ORIGINAL_DST finds them */
	struct cidr_list balancers; /* direct mode: who begins with a PROXY header */
	uint64_t deterrents; /* enum listen_deterrents; default: not where trusted */
	uint64_t fail;     /* enum listen_fail; default: as postern-divert was told */
	struct forward_spec forward;
	uint64_t identity; /* enum forward_identity */
	uint64_t bounce;   /* enum listen_bounce; default: what conf.bounce says */
	uint64_t spoof_fallback; /* enum forward_identity; IDENTITY_SPOOF: mail waits */
	uint64_t verify_recipients; /* bool */
	uint64_t tls; /* enum tls_level: to the next server */
	char tls_name[CONF_NAME_CAP]; /* what its certificate must be for; empty: the host of forward */
};

struct conf {
	char hostname[CONF_NAME_CAP];
	char spool[CONF_PATH_CAP];
	char rules[CONF_PATH_CAP];
	char filter[CONF_PATH_CAP]; /* the content filter's file; empty: none */
	uint64_t filter_undecoded;  /* enum filter_undecoded: what it says of a message that can't be decoded as a whole */
	uint64_t filter_may_lack;   /* bool, no option: the seeds' layout may have none */
	char pid_file[CONF_PATH_CAP];
	char forward_pid_file[CONF_PATH_CAP];
	char session_user[CONF_USER_CAP], session_group[CONF_USER_CAP];
	char forward_user[CONF_USER_CAP], forward_group[CONF_USER_CAP];
	char gate_user[CONF_USER_CAP]; /* empty: postern-gate if there is such a user, else session_user */
	uint64_t log_level; /* enum log_level */
	uint64_t workers;   /* 0 = one per processor */

	/* session */
	uint64_t max_size_bytes, max_recipients, max_sessions, max_errors, max_received, max_own_received;
	uint64_t command_timeout_s, data_timeout_s, drain_timeout_s;
	uint64_t bare_lf; /* enum bare_lf */

	/* deterrents; 0: none.  A rate is one of a minute */
	uint64_t max_client_connections, client_connection_rate, client_recipient_rate;
	uint64_t refuse_load_average; /* for every client */
	uint64_t greet_delay_s;
	uint64_t vrfy, expn; /* enum vague; for every client */
	uint64_t need_helo; /* bool; for every client */
	uint64_t tarpit_after, tarpit_errors; /* recipients, errors of a session */
	uint64_t tarpit_delay_s, tarpit_multiplier, tarpit_max_s;
	uint64_t tarpit_sessions, tarpit_per_client, stutter_s; /* of the action tarpit */
	uint64_t paranoid; /* bool */

	/* rules */
	uint64_t no_match;   /* enum no_match */
	uint64_t on_unknown; /* enum on_unknown */
	uint64_t deny_delay_s, noto_delay_s;

	/* the gate */
	uint64_t gate;         /* bool: is there one? */
	uint64_t gate_queue;   /* NFQUEUE; 0: none */
	uint64_t tarpit_syn_rate; /* answers a second to SYNs of those in the set tarpit; 0: none is answered */
	uint64_t gate_drop;    /* enum gate_drop: what a SYN that is dropped is told */
	uint64_t dead_after_s; /* without a heartbeat */
	uint64_t block_time_s, pass_time_s; /* of the actions drop and pass */
	uint64_t tarpit_time_s; /* of the action tarpit; 0: into no set */

	/* the external checker */
	char check_command[CONF_COMMAND_CAP]; /* words with blanks between them, the first an absolute path; empty: there is none */
	char check_user[CONF_USER_CAP], check_group[CONF_USER_CAP];
	char check_chroot[CONF_PATH_CAP];
	char check_dir[CONF_PATH_CAP]; /* as the command sees it, below check_chroot */
	uint64_t check_timeout_s, check_jobs;

	/* facts */
	char resolver[CONF_PATH_CAP]; /* name_servers.h; empty: those of resolv.conf; "none": nobody is asked */
	uint64_t dns_deadline_s, ident_timeout_s, list_check_s;
	uint64_t check_sender_domain; /* bool */

	/* recipients that the next server is asked about */
	uint64_t verify_timeout_s, verify_keep_yes_s, verify_keep_no_s;

	/* filters that speak the milter protocol */
	char milter[CONF_MILTER_CAP]; /* milter_spec.h, with conf_milters(); empty: none */
	uint64_t milter_fail;         /* enum milter_fail */
	uint64_t milter_connect_timeout_s, milter_command_timeout_s, milter_content_timeout_s, milter_deadline_s;

	/* spool */
	uint64_t min_free_bytes, min_free_inodes, segment_bytes;

	/* forwarding */
	uint64_t queue_lifetime_s, queue_warn_s, retry_min_s, retry_max_s, min_queue_age_s;
	uint64_t queue_load_average; /* 0 = never too high */
	uint64_t destination_connections; /* at once to one server */
	uint64_t connect_timeout_s, reply_timeout_s, keep_idle_s;
	uint64_t sendmail_children;
	uint64_t bounce;                /* enum bounce: whose senders get reports */
	char tls_ca_file[CONF_PATH_CAP];
	uint64_t bounce_tls; /* enum tls_level */
	struct forward_spec bounce_via; /* where reports to senders go; `original`: back to the host that the mail came from */

	uint64_t listen_count;
	struct conf_listen listen[CONF_LISTEN_MAX];
};

/* Defaults; no listen section, and no host name, which may take a while to find. */
void conf_defaults(struct conf *conf);

/* The host's own full name where none was given.  Asks the resolver, at most once in a process. */
void conf_default_hostname(struct conf *conf);

/* Is the name good for a greeting and the loop guard, that is, does no other host call itself the same? */
bool conf_is_full_hostname(const char *name);

/* With the default host name if the file has none. */
int conf_read(const char *path, struct conf *out, struct reason *why);

/* Do limits for each client and delays apply to who comes in here? */
bool conf_listen_deters(const struct conf_listen *l);

/* The filters, in their order; what a conf_read has let through has them all. */
void conf_milters(const struct conf *conf, struct milter_specs *out);

/* NULL when there is none. */
const struct conf_listen *conf_find_listen(const struct conf *conf, const char *iface);

const char *conf_listen_mode_name(uint64_t mode);
const char *conf_identity_name(uint64_t identity);
const char *conf_listen_fail_name(uint64_t fail);

/* ERR_INVAL with a reason unless text is a program with its path and words for it, as it can be run without a shell; empty is good.  name: of the option. */
int conf_check_command(const char *name, const char *text, struct reason *why);

/* A domain or an address literal: fit for a greeting and a Received field. */
bool conf_is_hostname(struct span name);

/* "5d", "4h", "30m", "60s", "60": seconds.  "10M", "64K", "1G", "1000": bytes. */
int conf_parse_duration(struct span text, uint64_t *seconds_out);
int conf_parse_size(struct span text, uint64_t *bytes_out);

#endif
