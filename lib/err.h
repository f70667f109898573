/* err.h - the one list of error codes, and a reason text that travels with them.
 * Every function that can fail returns 0 or one of these (always negative).  Foreign codes (errno, libuv, libconfuse) are translated
 * where they enter.  Steps that may have to wait return enum step instead.
 */
#ifndef POSTERN_ERR_H
#define POSTERN_ERR_H

enum err {
	ERR_OK = 0,
	ERR_NOMEM = -1,       /* no memory */
	ERR_INVAL = -2,       /* the caller or the administrator gave something that is out of range */
	ERR_SYNTAX = -3,      /* text that does not follow its grammar */
	ERR_TOOLONG = -4,     /* over a cap: line, list, message, path */
	ERR_NOTFOUND = -5,    /* no such file, user, interface, message */
	ERR_PERM = -6,        /* not permitted (root missing, wrong owner) */
	ERR_BUSY = -7,        /* taken: port, pid file, lock */
	ERR_IO = -8,          /* the system refused a read, write or sync */
	ERR_NOSPACE = -9,     /* no bytes or no inodes left, or a watermark reached */
	ERR_CORRUPT = -10,    /* stored bytes that fail their check */
	ERR_EOF = -11,        /* the other side closed */
	ERR_AGAIN = -12,      /* nothing now, ask again later */
	ERR_TIMEOUT = -13,    /* a deadline passed */
	ERR_REFUSED = -14,    /* a peer refused or is unreachable */
	ERR_PROTO = -15,      /* a peer or sibling process broke the protocol */
	ERR_UNSUPPORTED = -16 /* the kernel or a peer lacks the feature */
};

/* A step of a resumable machine. */
enum step { STEP_DONE, STEP_WAIT, STEP_FAIL };

#define REASON_CAP 384

/* A text for people that inner layers set and outer layers prefix.  Never holds a newline. */
struct reason {
	char text[REASON_CAP];
};

/* A short lower-case name of the code ("no-space"), for logs.  Never NULL. */
const char *err_name(int err);

/* Translate an errno value; unknown ones become ERR_IO. */
int err_from_errno(int errnum);

/* Set the text, cut at the cap.  why may be NULL (then nothing happens).  Returns err, so that `return reason_set(...)` reads well. */
int reason_set(struct reason *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "PREFIX: " in front of the text.  Returns err. */
int reason_prefix(struct reason *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
