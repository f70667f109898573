/* smtp_lines.h - the command lines of the client's side of SMTP, made from an envelope and what the server offers.
 * Pure.  Paths come from the disk and are not believed: one with a control character is refused (ERR_INVAL), so that nothing in it
 * can become a command.
 */
#ifndef POSTERN_SMTP_LINES_H
#define POSTERN_SMTP_LINES_H

#include <stdint.h>

#include "buf.h"
#include "envelope.h"
#include "message_id.h"
#include "smtp_caps.h"

#define SMTP_LINES_X_CAP 512u /* bytes of an XFORWARD or XCLIENT line with its CRLF */

/* MAIL with SIZE, BODY (RFC 6152), RET and ENVID (RFC 3461), each only where offered and known. */
int smtp_lines_mail(struct buf *out, const struct spool_envelope *envelope, uint64_t size_bytes, const struct smtp_caps *caps);

/* RCPT with NOTIFY and ORCPT where the server offers DSN. */
int smtp_lines_rcpt(struct buf *out, const struct spool_recipient *recipient, const struct smtp_caps *caps);

/* XFORWARD lines with the attributes that the server offers, as few as fit; none when it offers none. */
int smtp_lines_xforward(struct buf *out, const struct spool_envelope *envelope, const struct spool_id *id,
			const struct smtp_caps *caps, unsigned *count_out);

/* The same for XCLIENT (Postfix, XCLIENT_README): the server then treats the session as the client's own. */
int smtp_lines_xclient(struct buf *out, const struct spool_envelope *envelope, const struct smtp_caps *caps, unsigned *count_out);

/* The name to say in the EHLO behind it: the client's, or fallback where that is no domain. */
struct span smtp_lines_xclient_helo(const struct spool_envelope *envelope, struct span fallback);

#endif
