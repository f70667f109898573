/* smtp_params.h - MAIL and RCPT with their ESMTP parameters: SIZE (RFC 1870), BODY (RFC 6152), RET, ENVID, NOTIFY and ORCPT (RFC
 * 3461), AUTH (RFC 4954; checked, we make nothing of it).
 * A parameter that is given twice or has a bad value is 501 5.5.4, an unknown one 555 5.5.4.
 * Borrows: every span lies inside args.
 */
#ifndef POSTERN_SMTP_PARAMS_H
#define POSTERN_SMTP_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp_path.h"
#include "smtp_reply_text.h"
#include "span.h"

#define SMTP_ENVID_CAP 100u /* RFC 3461 section 4.4 */
#define SMTP_ORCPT_CAP 500u /* section 4.2 */

enum smtp_body { SMTP_BODY_NONE, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };
/* A set; 0 = the client gave no NOTIFY.  NEVER is alone. */
enum { SMTP_NOTIFY_NEVER = 1, SMTP_NOTIFY_SUCCESS = 2, SMTP_NOTIFY_FAILURE = 4, SMTP_NOTIFY_DELAY = 8 };

struct smtp_mail_params {
	bool has_size;
	uint64_t size_bytes; /* UINT64_MAX stands for everything above */
	enum smtp_body body;
	enum smtp_ret ret;
	struct span envid;   /* xtext as it came; empty = not given */
	struct span auth;    /* xtext or "<>" as it came; empty = not given */
};

struct smtp_rcpt_params {
	unsigned notify;     /* SMTP_NOTIFY_* */
	struct span orcpt;   /* addr-type;xtext as it came; empty = not given */
};

/* The whole argument of MAIL: "FROM:<a@b> SIZE=10 ...".  ERR_SYNTAX, ERR_TOOLONG or ERR_UNSUPPORTED with *why_out; the outputs are
 * written on success only, *why_out on failure only. */
int smtp_mail_parse(struct span args, bool strict, struct smtp_path *path_out, struct smtp_mail_params *params_out,
		    const struct smtp_reply_text **why_out);

/* The whole argument of RCPT: "TO:<a@b> NOTIFY=NEVER ...". */
int smtp_rcpt_parse(struct span args, bool strict, struct smtp_path *path_out, struct smtp_rcpt_params *params_out,
		    const struct smtp_reply_text **why_out);

#endif
