#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "loop.h"

struct tls_trust {
	SSL_CTX *ctx;
	unsigned held;
};

struct tls {
	SSL *ssl;
	enum tls_level level;
	char name[256];
	unsigned waits_for;
	bool is_up;     /* the handshake is done */
	bool is_broken; /* nothing more may be said */
};

const char *tls_level_name(enum tls_level level)
{
	static const char *const names[] = { "none", "may", "encrypt", "verify" };
	return names[level];
}

/* The oldest error of OpenSSL's list is the cause. */
static const char *openssl_says(void)
{
	unsigned long code = ERR_peek_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;
	return text ? text : "no reason given";
}

/* ---- trust */

static int load_file(SSL_CTX *ctx, const char *ca_file, struct reason *why)
{
	/* OpenSSL's own words for a file that can't be read are none. */
	FILE *file = fopen(ca_file, "re");
	if (!file)
		return reason_set(why, err_from_errno(errno), "%s: %s", ca_file, strerror(errno));
	(void)fclose(file);
	if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
		return reason_set(why, ERR_SYNTAX, "%s: no certificates can be read from it: %s", ca_file, openssl_says());
	return 0;
}

int tls_trust_create(const char *ca_file, struct tls_trust **out, struct reason *why)
{
	struct tls_trust *t = calloc(1, sizeof *t);
	SSL_CTX *ctx = t ? SSL_CTX_new(TLS_client_method()) : NULL;
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
		SSL_CTX_free(ctx);
		free(t);
		return reason_set(why, ERR_NOMEM, "OpenSSL: %s", openssl_says());
	}
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	/* On by default, and then one read goes on for as long as tickets or key updates come, and the whole loop with it. */
	(void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	int err = ca_file ? load_file(ctx, ca_file, why) : 0;
	ERR_clear_error();
	if (err) {
		SSL_CTX_free(ctx);
		free(t);
		return err;
	}
	*t = (struct tls_trust){ ctx, 1 };
	*out = t;
	return 0;
}

struct tls_trust *tls_trust_hold(struct tls_trust *trust)
{
	trust->held++;
	return trust;
}

void tls_trust_release(struct tls_trust **trust)
{
	struct tls_trust *t = *trust;
	*trust = NULL;
	if (!t || --t->held > 0)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

/* ---- one connection */

static bool expect_name(struct tls *t)
{
	struct addr literal;
	if (addr_parse(span_of(t->name), &literal) == 0)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), t->name) == 1;
	SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(t->ssl, t->name) == 1 && SSL_set_tlsext_host_name(t->ssl, t->name) == 1;
}

int tls_create(struct tls_trust *trust, int fd, const char *name, enum tls_level level, struct tls **out)
{
	if (level == TLS_VERIFY && !name[0])
		return ERR_INVAL;
	struct tls *t = calloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	ERR_clear_error();
	t->level = level;
	t->ssl = SSL_new(trust->ctx);
	bool is_good = t->ssl && SSL_set_fd(t->ssl, fd) == 1 && span_to_cstr(span_of(name), t->name, sizeof t->name) == 0 &&
		       (!name[0] || expect_name(t));
	if (!is_good) {
		t->is_broken = true;
		tls_destroy(&t);
		return ERR_NOMEM;
	}
	SSL_set_verify(t->ssl, level == TLS_VERIFY ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	/* An old key or digest is better than clear text, which is what `may` would fall back to. */
	if (level == TLS_MAY)
		SSL_set_security_level(t->ssl, 0);
	SSL_set_connect_state(t->ssl);
	*out = t;
	return 0;
}

void tls_destroy(struct tls **tls)
{
	struct tls *t = *tls;
	if (!t)
		return;
	if (t->is_up && !t->is_broken)
		(void)SSL_shutdown(t->ssl);
	SSL_free(t->ssl);
	ERR_clear_error();
	free(t);
	*tls = NULL;
}

/* What a call that did not succeed means. */
static int failed(struct tls *t, int result)
{
	int errnum = errno;
	switch (SSL_get_error(t->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: return ERR_AGAIN;
	case SSL_ERROR_ZERO_RETURN: return ERR_EOF;
	case SSL_ERROR_SSL:
		t->is_broken = true;
		return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? ERR_EOF : ERR_PROTO;
	default:
		t->is_broken = true;
		return errnum ? err_from_errno(errnum) : ERR_EOF;
	}
}

/* Of a handshake or a write. */
static void note_wait(struct tls *t)
{
	t->waits_for = SSL_want_read(t->ssl) ? LOOP_READ : LOOP_WRITE;
}

enum step tls_handshake(struct tls *t, struct reason *why)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(t->ssl);
	note_wait(t);
	if (result == 1) {
		t->is_up = true;
		return STEP_DONE;
	}
	int err = failed(t, result);
	if (err == ERR_AGAIN)
		return STEP_WAIT;
	long verdict = SSL_get_verify_result(t->ssl);
	if (t->level == TLS_VERIFY && verdict != X509_V_OK)
		(void)reason_set(why, err, "the certificate does not prove to be %s's: %s", t->name, X509_verify_cert_error_string(verdict));
	else if (err == ERR_EOF)
		(void)reason_set(why, err, "the server hung up in the TLS handshake");
	else
		(void)reason_set(why, err, "the TLS handshake failed: %s", err == ERR_PROTO ? openssl_says() : err_name(err));
	return STEP_FAIL;
}

int tls_read(struct tls *t, void *bytes, size_t room, size_t *len_out)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_read_ex(t->ssl, bytes, room, len_out);
	return result == 1 ? 0 : failed(t, result);
}

int tls_write(struct tls *t, const void *bytes, size_t len, size_t *len_out)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_write_ex(t->ssl, bytes, len, len_out);
	note_wait(t);
	return result == 1 ? 0 : failed(t, result);
}

unsigned tls_waits_for(const struct tls *t)
{
	return t->waits_for;
}

void tls_describe(const struct tls *t, char text[TLS_TEXT_CAP])
{
	/* Without a certificate there is nothing to find fault with. */
	bool is_verified = t->name[0] && SSL_get0_peer_certificate(t->ssl) && SSL_get_verify_result(t->ssl) == X509_V_OK;
	(void)snprintf(text, TLS_TEXT_CAP, "%s/%s/%s", SSL_get_version(t->ssl), SSL_get_cipher_name(t->ssl),
		       is_verified ? "verified" : "unverified");
}
