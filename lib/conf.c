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
#include "conf_options.h"
#include "smtp_domain.h"

#define FILE_CAP (1u << 20)
/* What we put behind the file: libconfuse takes a section that is never closed for a whole one, but in there it knows no such option. */
#define END_OPTION "end-of-configuration"

/* libconfuse's error callback has no context argument: the parse that is under way. */
static struct reason *parse_reason;
static const char *parse_path;

/* What libconfuse says where our words help more: text may begin like this, then comes the rest of it or not, then ours. */
static const struct translation {
	const char *theirs, *ours;
	bool keeps_rest;
	const char *behind;
} translations[] = {
	{ "no such option '" END_OPTION, "the last section is not closed: expected }", false, "" },
	{ "no such option", "no such option", true, " (a value of several words wants quotes, a unit stands right behind its number: 5m)" },
	{ "found duplicate title", "a second listen", true, ": an interface has one section" },
	{ "missing title for section", "expected listen \"INTERFACE\" {", false, "" },
	{ "", "", true, "" },
};

__attribute__((format(printf, 2, 0))) static void keep_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[REASON_CAP];
	const struct translation *t = translations;
	/* The first error is the cause; later ones follow from it. */
	if (!parse_reason || parse_reason->text[0])
		return;
	(void)vsnprintf(text, sizeof text, fmt, ap);
	while (strncmp(text, t->theirs, strlen(t->theirs)) != 0)
		t++;
	reason_set(parse_reason, ERR_SYNTAX, "%s:%d: %s%s%s", parse_path, cfg ? cfg->line : 0, t->ours, t->keeps_rest ? text + strlen(t->theirs) : "",
		   t->behind);
}

/* ---- values that others read, too */

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
	static const uint64_t factors[] = { 1, 60, 60 * 60, 24 * 60 * 60, 7 * 24 * 60 * 60 };
	return parse_scaled(text, "smhdw", factors, seconds_out);
}

int conf_parse_size(struct span text, uint64_t *bytes_out)
{
	static const uint64_t factors[] = { 1u << 10, 1u << 10, 1u << 20, 1u << 20, 1u << 30, 1u << 30 };
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
bool conf_is_hostname(struct span name)
{
	struct addr literal;
	return smtp_domain_is_valid(name, false) || smtp_literal_parse(name, &literal) == 0;
}

/* Called by libconfuse as soon as a value is read, while it still knows the line. */
static int validate(cfg_t *cfg, cfg_opt_t *opt)
{
	struct reason why = { "" };
	const struct conf_option_table *table = strcmp(cfg->name, "listen") == 0 ? &conf_listen_options : &conf_options;
	const struct conf_option *known = conf_option_find(table, opt->name);
	const char *text = cfg_opt_getnstr(opt, 0);
	if (!known || !text || conf_option_set(known, text, NULL, &why) == 0)
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
	for (size_t i = 0; i < conf_listen_options.count; i++) {
		int err = conf_option_set(&conf_listen_options.options[i], cfg_getstr(sec, conf_listen_options.options[i].name), l, why);
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
	for (size_t i = 0; i < conf_options.count; i++)
		if (conf_options.options[i].preset)
			(void)conf_option_set(&conf_options.options[i], conf_options.options[i].preset, conf, NULL);
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
	for (size_t i = 0; i < conf_options.count; i++) {
		const char *text = cfg_getstr(cfg, conf_options.options[i].name);
		int err = text ? conf_option_set(&conf_options.options[i], text, conf, why) : 0;
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

static void fill_opts(cfg_opt_t *to, const struct conf_option_table *from)
{
	for (size_t i = 0; i < from->count; i++) {
		cfg_opt_t opt = CFG_STR(from->options[i].name, (char *)(uintptr_t)from->options[i].preset, CFGF_NONE);
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
	cfg_opt_t listen_opts[CONF_OPTIONS_MAX + 1] = { CFG_END() };
	cfg_opt_t opts[CONF_OPTIONS_MAX + 3] = { CFG_END() };
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
	fill_opts(listen_opts, &conf_listen_options);
	listen_opts[conf_listen_options.count] = end;
	fill_opts(opts, &conf_options);
	opts[conf_options.count] = section;
	opts[conf_options.count + 1] = behind;
	opts[conf_options.count + 2] = end;

	cfg_t *cfg = cfg_init(opts, CFGF_NONE);
	if (!cfg) {
		buf_free(&text);
		return reason_set(why, ERR_NOMEM, "%s: no memory", path);
	}
	(void)cfg_set_error_function(cfg, keep_error);
	for (size_t i = 0; i < conf_options.count; i++)
		(void)cfg_set_validate_func(cfg, conf_options.options[i].name, validate);
	for (size_t i = 0; i < conf_listen_options.count; i++) {
		char name[64];
		(void)snprintf(name, sizeof name, "listen|%s", conf_listen_options.options[i].name);
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

const char *conf_listen_mode_name(uint64_t mode)
{
	return conf_option_word(&conf_listen_options, "mode", mode);
}

const char *conf_listen_fail_name(uint64_t fail)
{
	return conf_option_word(&conf_listen_options, "fail", fail);
}

const char *conf_identity_name(uint64_t identity)
{
	return conf_option_word(&conf_listen_options, "identity", identity);
}
