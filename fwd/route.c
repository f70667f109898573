#include "route.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"

bool route_is_own(const struct spool_id *id)
{
	return spool_id_worker(id) == SPOOL_ID_WORKER_FWD;
}

/* By name.  Where the envelope has none, only a configuration with one section leaves no doubt. */
const struct conf_listen *route_find_listen(const struct conf *conf, const struct spool_envelope *envelope)
{
	char iface[sizeof conf->listen[0].iface];
	struct span name = envelope->listener;
	if (name.len == 0)
		return conf->listen_count == 1 ? &conf->listen[0] : NULL;
	return span_to_cstr(name, iface, sizeof iface) == 0 ? conf_find_listen(conf, iface) : NULL;
}

static void choose_tls(const struct conf *conf, const struct conf_listen *listen, struct route *route)
{
	bool is_host = route->spec.kind == FORWARD_SMTP || route->spec.kind == FORWARD_LMTP;
	if (!is_host && route->spec.kind != FORWARD_ORIGINAL)
		return; /* nothing lies between us and a program or a socket of this host */
	route->tls = (enum tls_level)(listen ? listen->tls : conf->bounce_tls);
	const char *name = listen && listen->tls_name[0] ? listen->tls_name : is_host ? route->spec.host : "";
	if (route->tls != TLS_NONE)
		(void)span_to_cstr(span_of(name), route->tls_name, sizeof route->tls_name);
}

/* listen NULL: our own message */
static int choose(const struct conf *conf, const struct conf_listen *listen, const struct endpoint *dst, const struct addr *client,
		  struct route *out)
{
	struct route route;
	memset(&route, 0, sizeof route);
	route.spec = listen ? listen->forward : conf->bounce_via;
	route.identity = listen ? (enum forward_identity)listen->identity : IDENTITY_NONE;
	if (route.spec.kind == FORWARD_ORIGINAL) {
		if (dst->addr.family == ADDR_NONE || dst->port == 0)
			return ERR_INVAL;
		route.original = *dst;
	}
	/* A program or a unix socket can't be spoken to from somewhere else. */
	if (route.identity == IDENTITY_SPOOF && route.spec.kind != FORWARD_SENDMAIL && route.spec.kind != FORWARD_LMTP_UNIX)
		route.spoofed = *client;
	route.spoof_fallback = route.spoofed.family != ADDR_NONE ? (enum forward_identity)listen->spoof_fallback : IDENTITY_SPOOF;
	route.is_for_clients = route.identity == IDENTITY_SPOOF || route.identity == IDENTITY_XCLIENT;
	route.is_verified = listen && listen->verify_recipients;
	choose_tls(conf, listen, &route);
	*out = route;
	return 0;
}

int route_choose(const struct conf *conf, const struct spool_id *id, const struct spool_envelope *envelope, struct route *out)
{
	const struct conf_listen *listen = NULL;
	if (!route_is_own(id) && conf->listen_count > 0) {
		listen = route_find_listen(conf, envelope);
		if (!listen)
			return ERR_NOTFOUND;
	}
	return choose(conf, listen, &envelope->dst, &envelope->client.addr, out);
}

int route_choose_for_question(const struct conf *conf, const char *listener, const struct endpoint *dst, struct route *out)
{
	const struct addr nobody = { .family = ADDR_NONE };
	const struct conf_listen *listen = conf_find_listen(conf, listener);
	if (!listen)
		return ERR_NOTFOUND;
	if (!listen->verify_recipients || listen->forward.kind == FORWARD_SENDMAIL)
		return ERR_UNSUPPORTED;
	struct route route;
	int err = choose(conf, listen, dst, &nobody, &route);
	if (err)
		return err;
	route.identity = IDENTITY_NONE;
	*out = route;
	return 0;
}

const char *route_key(const struct route *route, char key[ROUTE_KEY_CAP])
{
	char spec[FORWARD_SPEC_TEXT_CAP], endpoint[ENDPOINT_TEXT_CAP], addr[ADDR_TEXT_CAP];
	const char *where = spec;
	if (route->spec.kind == FORWARD_ORIGINAL)
		where = endpoint_format(&route->original, endpoint);
	else
		(void)forward_spec_format(&route->spec, spec);
	bool is_spoofed = route->spoofed.family != ADDR_NONE;
	bool has_fallback = is_spoofed && route->spoof_fallback != IDENTITY_SPOOF;
	enum forward_identity said = has_fallback ? route->spoof_fallback : route->identity;
	bool has_tls = route->spec.kind != FORWARD_SENDMAIL && route->spec.kind != FORWARD_LMTP_UNIX && route->tls != TLS_MAY;
	bool is_named = route->tls != TLS_NONE && strcmp(route->tls_name, route->spec.host) != 0;
	struct buf out = { .data = key, .room = ROUTE_KEY_CAP - 1, .cap = ROUTE_KEY_CAP - 1 };
	/* What changes what is said on a connection is in the name: listeners that want different things must not share one.  All of
	 * it fits. */
	(void)buf_append_span(&out, span_of(where));
	if (is_spoofed)
		(void)buf_printf(&out, " from %s%s", addr_format(&route->spoofed, addr), has_fallback ? " or" : "");
	if (said == IDENTITY_XFORWARD || said == IDENTITY_XCLIENT || has_fallback)
		(void)buf_append_span(&out, said == IDENTITY_XFORWARD  ? SPAN_LIT(" xforward")
					    : said == IDENTITY_XCLIENT ? SPAN_LIT(" xclient")
								       : SPAN_LIT(" none"));
	if (has_tls)
		(void)buf_printf(&out, " tls=%s", tls_level_name(route->tls));
	if (is_named)
		(void)buf_printf(&out, " name=%s", route->tls_name);
	key[out.len] = '\0';
	return key;
}

bool route_uses_programs(const struct conf *conf)
{
	bool uses = conf->bounce_via.kind == FORWARD_SENDMAIL;
	for (uint64_t i = 0; i < conf->listen_count; i++)
		uses = uses || conf->listen[i].forward.kind == FORWARD_SENDMAIL;
	return uses;
}

bool route_uses_verify(const struct conf *conf)
{
	bool uses = conf->bounce_tls == TLS_VERIFY;
	for (uint64_t i = 0; i < conf->listen_count; i++)
		uses = uses || conf->listen[i].tls == TLS_VERIFY;
	return uses;
}

bool route_uses_spoof(const struct conf *conf)
{
	for (uint64_t i = 0; i < conf->listen_count; i++) {
		if (conf->listen[i].identity == IDENTITY_SPOOF)
			return true;
	}
	return false;
}
