/* check_args.h - whom a message is from and to, on the way from the session that knows it to the external command whose arguments it becomes.
 * A packet of texts, each with a NUL behind it: the client's address, <sender>, and <recipient> for each of them.  It goes into a memory file:
 * a thousand recipients are too much for a message between processes.
 */
#ifndef POSTERN_CHECK_ARGS_H
#define POSTERN_CHECK_ARGS_H

#include <stddef.h>

#include "buf.h"
#include "conf.h"
#include "span.h"

#define CHECK_ARGS_BYTES_MAX (4u << 20)

/* Client and sender first, then the recipients.  Paths come without their angle brackets.  Fails as buf does, and ERR_INVAL with what can't be an
 * argument: a control character. */
int check_args_begin(struct buf *packet, const char *client, struct span sender);
int check_args_recipient(struct buf *packet, struct span recipient);

struct check_args {
	char *packet; /* owned */
	const char *client, *sender;
	const char **recipients;
	size_t recipient_count;
};

/* Reads a packet that may be anything: ERR_SYNTAX unless each text is what it should be, so that none can be taken for an option: an address, and
 * paths in angle brackets without control characters.  Copies; to be freed on success. */
int check_args_parse(struct span packet, struct check_args *out);
void check_args_free(struct check_args *args);

/* `COMMAND WORDS... -s file -a client -f <sender> -t recipients <recipient>...`, NULL behind the last.  One block, to be freed; it points into args
 * and holds copies of the rest.  NULL: no memory.  command: words with blanks between them. */
char **check_args_vector(const struct check_args *args, const char *command, const char *file);

#endif
