/* mime_walk.h - shows what a mail program would show of a message: header fields, text and names of attachments, decoded, as the message streams by.
 * In: the message in arbitrary cuts, in wire form (dot-stuffed, ends with its final dot: RFC 5321 section 4.5.2) or as it is.  Line ends are CRLF, LF or CR.
 * Out: pieces, always valid UTF-8, in the order of the message; the same ones however it was cut.  What an encoding or a charset makes of broken
 * input is not lost but shown as well as it can be: bytes that are not UTF-8 where nothing better is known are taken for windows-1252.
 *   MIME_HEADER  a field as "Name: text": folded lines joined, encoded words (RFC 2047) decoded, also where they may not stand
 *   MIME_TEXT    a line of a part that is text, without its end: base64 and quoted-printable decoded, any charset (RFC 2045 to 2049).  A part that says it
 *                is something else is shown as well when its first bytes look like text.  Text around the parts of a multipart is text too
 *   MIME_NAME    a name an attachment could be saved under: `filename` and `name` (RFC 2183, 2231, 2047), of nested parts and messages, of uuencoded and yEnc
 *                files in text.  Mail programs disagree on what broken fields mean: each name that one of them could see is shown, so one attachment may have
 *                several
 * The pieces of one line, field or name follow one another, nothing is between them.
 * Messages in messages (message/rfc822) are walked like the message itself, encoded ones too.
 * Bounds: time is linear in the size of the message and memory below MIME_WALK_BYTES_MAX, whatever it holds.  What lies beyond a bound is shown as text,
 * undecoded, and the flags say so.  TNEF (winmail.dat), BinHex and archives are names and not opened.
 * Owns: its memory, open to close; some 3 KiB for an ordinary message.  Calls back: from push and finish, with a piece that lives for that call; the sink must not
 * call the walk.  Opens no file.  Fails: ERR_NOMEM; then the message was not walked whole and the walk takes nothing more (sticky).
 */
#ifndef POSTERN_MIME_WALK_H
#define POSTERN_MIME_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "span.h"

#define MIME_PIECE_MAX 8192u              /* bytes of one piece; longer lines come in several */
#define MIME_FIELD_MAX 32768u             /* of a header field, as much as sendmail takes of a whole header; names are looked for in these */
#define MIME_DEPTH_MAX 32u                /* multiparts and messages around a part */
#define MIME_BOUNDARY_MAX 1024u           /* bytes of a boundary */
#define MIME_WALK_BYTES_MAX (768u * 1024) /* at the worst */

enum mime_kind { MIME_HEADER, MIME_TEXT, MIME_NAME };

struct mime_piece {
	enum mime_kind kind;
	struct span text;  /* never cut within a character */
	bool is_first;     /* of its field, line or name */
	bool is_last;
	uint32_t part;     /* 0: the message's own header; counted up with each part and message in it */
};

typedef void (*mime_sink)(void *owner, const struct mime_piece *piece);

/* What an administrator may want to know of a message. */
enum mime_flag {
	MIME_FLAG_DEPTH = 1,     /* deeper than MIME_DEPTH_MAX */
	MIME_FLAG_FIELD = 2,     /* a field longer than MIME_FIELD_MAX */
	MIME_FLAG_BOUNDARY = 4,  /* a boundary longer than MIME_BOUNDARY_MAX, or of no bytes, or more of them for one part than are remembered */
	MIME_FLAG_PARAMS = 8,    /* more parameters in a field than are looked at */
	MIME_FLAG_ENCODED = 16,  /* more messages and multiparts encoded within each other than are decoded */
	MIME_FLAG_PARTIAL = 32,  /* a fragment of a message (message/partial): what it holds shows only when all are put together */
	MIME_FLAG_BASE64 = 64,   /* base64 with padding where none can be, which programs read in different ways */
	MIME_FLAG_CODING = 128,  /* a Content-Transfer-Encoding that some programs decode and we don't: uuencode, yEnc, BinHex */
	MIME_FLAG_CHARSET = 256, /* a part that names two charsets: the first is taken */
};

enum mime_form { MIME_PLAIN, MIME_WIRE };

struct mime_walk;

int mime_walk_open(enum mime_form form, mime_sink sink, void *owner, struct mime_walk **out);

/* Once in each process, before it gives up its rights: makes what charsets need.  Not calling it costs nothing but that. */
void mime_walk_init_prepriv(void);

/* Wire form: what follows the final dot line is ignored. */
int mime_walk_push(struct mime_walk *walk, struct span bytes);

/* The message is over: the rest of it is shown.  Nothing may be pushed after it. */
int mime_walk_finish(struct mime_walk *walk);

/* Of all that was pushed so far: enum mime_flag. */
unsigned mime_walk_flags(const struct mime_walk *walk);

/* Accepts NULL, clears the pointer.  Also in the middle of a message. */
void mime_walk_close(struct mime_walk **walk);

/* For logs: "depth,field"; at most len bytes with the NUL. */
void mime_walk_flags_text(unsigned flags, char *out, size_t len);

#endif
