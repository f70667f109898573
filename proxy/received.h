/* received.h - the one header that we add (RFC 5321 section 4.4).
 */
#ifndef POSTERN_RECEIVED_H
#define POSTERN_RECEIVED_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "message_id.h"
#include "origdst.h"
#include "span.h"

struct received_facts {
	const struct origdst *where;
	struct span iface;
	struct span hostname;     /* ours: what the loop detection looks for */
	struct span helo;
	bool helo_is_domain;      /* else the client's address stands in its place */
	struct span client_name;  /* confirmed, or empty */
	bool is_esmtp, is_diverted;
	const struct spool_id *id;
	struct span only_recipient; /* the forward-path when there is exactly one recipient, else empty: nobody learns of blind copies */
	int64_t time;
};

/* Append the header field, folded, every line ended by CRLF.  ERR_NOMEM. */
int received_append(const struct received_facts *facts, struct buf *out);

#endif
