/* milter_message.h - a message on its way through several filters: as it came, with what each of them has changed.
 * Loads the header from the image, applies edits, and in the end writes the whole message into a memfd where its header or body was changed; one
 * that no filter has touched is not copied.
 * Owns: everything but the image's memory and descriptor, which are borrowed until destroy.
 * Calls back: on the loop, never before the starting function has returned, and not after destroy.
 * Limits: those of milter_headers.h, and MILTER_RCPT_CHANGES_CAP recipients added or removed, for all filters of a message together.
 */
#ifndef POSTERN_MILTER_MESSAGE_H
#define POSTERN_MILTER_MESSAGE_H

#include "content_image.h"
#include "content_verdict.h"
#include "loop.h"
#include "milter_edits.h"
#include "milter_headers.h"

#define MILTER_RCPT_CHANGES_CAP 2000

struct milter_message;

/* err: ERR_TOOLONG: a header over the limits of milter_headers.h; ERR_IO, ERR_NOMEM. */
typedef void (*milter_message_fn)(void *ctx, int err);

/* image: wire form; its first own_len bytes are no filter's business and stay in front. */
int milter_message_load(struct loop *loop, const struct content_image *image, milter_message_fn done, void *ctx, struct milter_message **out);

/* As it is now: valid once loaded. */
const struct milter_headers *milter_message_headers(const struct milter_message *message);
const struct content_image *milter_message_body(const struct milter_message *message, uint64_t *from_out);

/* Take over what a filter wanted, in its order, a bounded part of it each turn of the loop; edits is borrowed until done, and empty then.  by: its name,
 * for the recipients it adds; borrowed until destroy.  err not 0: the message must not be used any more. */
void milter_message_apply(struct milter_message *message, struct milter_edits *edits, const char *by, milter_message_fn done, void *ctx);

/* After ERR_TOOLONG from apply: the bound, as milter_edits.limit. */
const char *milter_message_limit(const struct milter_message *message);

/* Write what was changed; done also where nothing has to be written. */
void milter_message_write(struct milter_message *message, milter_message_fn done, void *ctx);

/* After write: what there is to tell.  fd goes over to the caller; the rest lives in message. */
void milter_message_change(struct milter_message *message, struct content_change *out);

void milter_message_destroy(struct milter_message **message);

#endif
