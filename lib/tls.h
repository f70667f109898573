/* tls.h - TLS 1.2 and 1.3 as a client, over a connected socket that does not block.  The one home of OpenSSL.
 * A trust holds the certificates of the authorities that are believed; it is counted, so a reload may replace it under connections
 * that live.  What the server presents is always checked, against the trust and the name; only TLS_VERIFY makes it a condition.
 * Owns: its own state.  Borrows: the descriptor, until tls_destroy.  Requires: SIGPIPE ignored (priv_start_process).
 * Fails: a server's bytes end in an error and a reason text, whatever they are.  Renegotiation is refused.
 */
#ifndef POSTERN_TLS_H
#define POSTERN_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/* none: never.  may: where it works, and with any certificate; nobody who can change what passes is kept out.  encrypt: or not at all.
 * verify: or not at all, and only to who can prove the name. */
enum tls_level { TLS_NONE, TLS_MAY, TLS_ENCRYPT, TLS_VERIFY };

const char *tls_level_name(enum tls_level level);

struct tls_trust;

/* ca_file: PEM; NULL: nobody is believed.  Reads the file, so not on a loop that has work.  ERR_NOTFOUND, ERR_PERM, ERR_SYNTAX (no
 * certificate in it), ERR_NOMEM. */
int tls_trust_create(const char *ca_file, struct tls_trust **out, struct reason *why);
struct tls_trust *tls_trust_hold(struct tls_trust *trust);
void tls_trust_release(struct tls_trust **trust);

struct tls;

/* name: what the certificate has to be for, a host name or an address; empty: it proves nothing (ERR_INVAL with TLS_VERIFY). */
int tls_create(struct tls_trust *trust, int fd, const char *name, enum tls_level level, struct tls **out);
/* Says goodbye if it can be said at once. */
void tls_destroy(struct tls **tls);

/* STEP_WAIT: again when the socket is ready for what tls_waits_for says. */
enum step tls_handshake(struct tls *tls, struct reason *why);

/* At least one byte, or ERR_AGAIN, ERR_EOF, ERR_IO.  A write that got ERR_AGAIN must be repeated with the same bytes in front.  Bytes
 * may lie in tls where the socket has none left: read until ERR_AGAIN. */
int tls_read(struct tls *tls, void *bytes, size_t room, size_t *len_out);
int tls_write(struct tls *tls, const void *bytes, size_t len, size_t *len_out);

/* LOOP_READ or LOOP_WRITE: what the socket has to be ready for before the handshake, or the next write, can go on. */
unsigned tls_waits_for(const struct tls *tls);

/* After the handshake: "TLSv1.3/TLS_AES_256_GCM_SHA384/verified"; "unverified": the certificate does not prove the name. */
#define TLS_TEXT_CAP 96
void tls_describe(const struct tls *tls, char text[TLS_TEXT_CAP]);

#endif
