/* verify_packet.h - a worker's question whether the next server knows a recipient, and posternfwd's answer (verify-recipients).
 * Over the connection of committed_notice.h.  Each side takes the other for a stranger: check before use.
 * A worker that is taken over can ask about recipients through the sections that are configured, and learns what their servers say: no
 * more than its own connections could.
 * Pure.
 */
#ifndef POSTERN_VERIFY_PACKET_H
#define POSTERN_VERIFY_PACKET_H

#include <stdint.h>

#include "addr.h"
#include "err.h"
#include "span.h"

enum { VERIFY_ASK = 32, VERIFY_ANSWER };

#define VERIFY_PATH_CAP 255u   /* with its NUL; a longer recipient is not asked about */
#define VERIFY_LINE_CAP 250u   /* with its NUL */
#define VERIFY_PENDING_MAX 256u /* questions of one worker that wait for their answers; a further one is answered at once: unknown */

struct verify_ask {
	uint64_t id;            /* the worker's own */
	char listener[16];      /* name of the listen section; NUL-terminated, as all texts here */
	struct endpoint dst;    /* the original destination; counts where forward = original */
	char path[VERIFY_PATH_CAP];
};

enum verify_result {
	VERIFY_UNKNOWN, /* nobody can say: accept */
	VERIFY_YES,
	VERIFY_NO
};

struct verify_answer {
	uint64_t id;
	uint32_t result;            /* enum verify_result */
	char line[VERIFY_LINE_CAP]; /* VERIFY_NO: the server's reply, "550 5.1.1 no such user"; else empty */
};

/* ERR_TOOLONG, or ERR_INVAL: not printable ASCII. */
int verify_ask_make(uint64_t id, const char *listener, const struct endpoint *dst, struct span path, struct verify_ask *out);

/* ERR_PROTO: what no process of ours sends. */
int verify_ask_check(struct span payload, struct verify_ask *out);
int verify_answer_check(struct span payload, struct verify_answer *out);

/* A reply line made fit for an answer: "550 " and text, 5xx, printable, cut.  ERR_INVAL: no reply with 5xx. */
int verify_line_make(struct span reply, char out[VERIFY_LINE_CAP]);

#endif
