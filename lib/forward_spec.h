/* forward_spec.h - where accepted mail goes next: the `forward` vocabulary of postern.conf.
 *   original            to the server that the client had meant (its original destination)
 *   smtp:HOST:PORT      to that server; HOST is a name, an IPv4 address or a bracketed IPv6 address; :PORT may be left out (25)
 *   lmtp:HOST:PORT      into the mailboxes of that server, by LMTP (RFC 2033); :PORT may be left out (24)
 *   lmtp:/path          the same through a unix socket
 *   sendmail:/path/prog through the program, as the seeds' smtpfwdd did
 */
#ifndef POSTERN_FORWARD_SPEC_H
#define POSTERN_FORWARD_SPEC_H

#include <stdint.h>

#include "err.h"
#include "span.h"

enum forward_kind { FORWARD_ORIGINAL, FORWARD_SMTP, FORWARD_LMTP, FORWARD_LMTP_UNIX, FORWARD_SENDMAIL };

/* How the next server learns the client's address. */
enum forward_identity { IDENTITY_NONE, IDENTITY_XFORWARD, IDENTITY_XCLIENT, IDENTITY_SPOOF };

struct forward_spec {
	enum forward_kind kind;
	uint16_t port;
	char host[256]; /* FORWARD_SMTP, FORWARD_LMTP: without brackets */
	char path[256]; /* FORWARD_LMTP_UNIX, FORWARD_SENDMAIL: absolute */
};

#define FORWARD_SPEC_TEXT_CAP 288

/* ERR_SYNTAX with a reason that says what was expected. */
int forward_spec_parse(struct span text, struct forward_spec *out, struct reason *why);
const char *forward_spec_format(const struct forward_spec *spec, char text[FORWARD_SPEC_TEXT_CAP]);

#endif
