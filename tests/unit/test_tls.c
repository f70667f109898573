/* What a server may send behind the handshake costs a read no more than one record: else it could hold up the loop for as long as it
 * sends.  (The handshake itself, names and levels: tests/e2e/test_tls.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

#define TICKETS 50

static SSL_CTX *make_server(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	assert_true(ctx && key && cert);
	assert_int_equal(X509_set_pubkey(cert, key), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION), 1);
	assert_int_equal(SSL_CTX_set_num_tickets(ctx, 0), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static void one_read_takes_one_record(void **state)
{
	(void)state;
	struct tls_trust *trust;
	struct tls *tls;
	struct reason why;
	int fds[2], left, before;
	char bytes[100];
	size_t len = 0;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(tls_trust_create(NULL, &trust, &why), 0);
	assert_int_equal(tls_create(trust, fds[0], "", TLS_MAY, &tls), 0);
	SSL_CTX *ctx = make_server();
	SSL *server = SSL_new(ctx);
	assert_true(server && SSL_set_fd(server, fds[1]) == 1);
	SSL_set_accept_state(server);
	enum step step = STEP_WAIT;
	for (int turn = 0; turn < 10 && (step == STEP_WAIT || !SSL_is_init_finished(server)); turn++) {
		step = step == STEP_WAIT ? tls_handshake(tls, &why) : step;
		(void)SSL_do_handshake(server);
	}
	assert_int_equal(step, STEP_DONE);
	for (int i = 0; i < TICKETS; i++) {
		assert_int_equal(SSL_new_session_ticket(server), 1);
		assert_int_equal(SSL_do_handshake(server), 1);
	}
	assert_int_equal(SSL_write(server, "220 hello", 9), 9);
	assert_int_equal(ioctl(fds[0], FIONREAD, &before), 0);
	int reads = 0, err;
	while ((err = tls_read(tls, bytes, sizeof bytes, &len)) == ERR_AGAIN) {
		assert_int_equal(ioctl(fds[0], FIONREAD, &left), 0);
		assert_in_range(before - left, 1, 1000);
		assert_true(left > 0); /* so the loop comes again */
		before = left;
		reads++;
	}
	assert_int_equal(err, 0);
	assert_int_equal(len, 9);
	assert_memory_equal(bytes, "220 hello", 9);
	assert_int_equal(reads, TICKETS);
	tls_destroy(&tls);
	tls_trust_release(&trust);
	SSL_free(server);
	SSL_CTX_free(ctx);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_read_takes_one_record) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
