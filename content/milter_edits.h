/* milter_edits.h - what one filter wants changed in a message, collected until it has said its last word: a filter that breaks off in the middle
 * has changed nothing.
 * Addresses and names of fields are checked as they come.
 * Owns: copies of everything, and the new body (a memfd in wire form).  A struct from milter_edits_init is valid.
 * Limits: MILTER_EDITS_MAX wishes, MILTER_EDITS_BYTES of text, body_max bytes of body: beyond, ERR_TOOLONG, and limit says which.
 */
#ifndef POSTERN_MILTER_EDITS_H
#define POSTERN_MILTER_EDITS_H

#include "arena.h"
#include "buf.h"
#include "milter_packet.h"
#include "smtp_dot.h"
#include "smtp_params.h"

#define MILTER_EDITS_MAX 2000
#define MILTER_EDITS_BYTES 2097152

struct milter_edit {
	enum milter_reply kind;
	uint32_t index;
	struct span first, second; /* field and value; address without brackets, and arguments; reason */
};

struct milter_edits {
	struct arena arena;
	struct milter_edit *list;
	size_t count, room;
	bool has_space; /* of header values, as negotiated */

	const char *limit; /* with ERR_TOOLONG: the bound that was reached, "2000 changes"; else NULL */

	int body_fd;    /* -1: no new body */
	uint64_t body_len, body_max;
	struct smtp_dot dot;
};

void milter_edits_init(struct milter_edits *edits, bool has_space, uint64_t body_max);

/* One answer of a filter.  ERR_UNSUPPORTED: it is no wish.  ERR_INVAL: an address or a field's name that is none; ERR_TOOLONG, ERR_NOMEM. */
int milter_edits_take(struct milter_edits *edits, enum milter_reply kind, const struct milter_change *change);

/* The parameters of a MILTER_ADD_RCPT or MILTER_ADD_RCPT_PAR in the list; orcpt lies in it. */
void milter_edit_rcpt_params(const struct milter_edit *edit, struct smtp_rcpt_params *out);

/* The filter has passed the message: end the new body. */
int milter_edits_finish(struct milter_edits *edits);

/* "2 headers added, body replaced", for the log; empty when there are none.  Returns text. */
#define MILTER_EDITS_TEXT_CAP 200u
const char *milter_edits_describe(const struct milter_edits *edits, char text[MILTER_EDITS_TEXT_CAP]);

void milter_edits_free(struct milter_edits *edits);

#endif
