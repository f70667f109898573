#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_name(int err)
{
	switch ((enum err)err) {
	case ERR_OK: return "ok";
	case ERR_NOMEM: return "no-memory";
	case ERR_INVAL: return "invalid";
	case ERR_SYNTAX: return "syntax";
	case ERR_TOOLONG: return "too-long";
	case ERR_NOTFOUND: return "not-found";
	case ERR_PERM: return "not-permitted";
	case ERR_BUSY: return "busy";
	case ERR_IO: return "io";
	case ERR_NOSPACE: return "no-space";
	case ERR_CORRUPT: return "corrupt";
	case ERR_EOF: return "closed";
	case ERR_AGAIN: return "again";
	case ERR_TIMEOUT: return "time-out";
	case ERR_REFUSED: return "refused";
	case ERR_PROTO: return "protocol";
	case ERR_UNSUPPORTED: return "unsupported";
	}
	return "unknown";
}

int err_from_errno(int errnum)
{
	switch (errnum) {
	case 0: return ERR_OK;
	case ENOMEM:
	case ENOBUFS:
	case EMFILE:
	case ENFILE: return ERR_NOMEM;
	case EINVAL: return ERR_INVAL;
	case ENAMETOOLONG:
	case EFBIG:
	case EMSGSIZE: return ERR_TOOLONG;
	case ENOENT:
	case ENODEV:
	case ENXIO: return ERR_NOTFOUND;
	case EPERM:
	case EACCES: return ERR_PERM;
	case EBUSY:
	case EEXIST:
	case EADDRINUSE: return ERR_BUSY;
	case ENOSPC:
	case EDQUOT: return ERR_NOSPACE;
	case EPIPE:
	case ECONNRESET: return ERR_EOF;
	case EAGAIN:
	case EINTR: return ERR_AGAIN;
	case ETIMEDOUT: return ERR_TIMEOUT;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EADDRNOTAVAIL: return ERR_REFUSED;
	case EPROTO: return ERR_PROTO;
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case ENOSYS: return ERR_UNSUPPORTED;
	default: return ERR_IO;
	}
}

/* Control characters in a file name or a peer's text must not break the one-line promise. */
static void flatten(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

int reason_set(struct reason *why, int err, const char *fmt, ...)
{
	if (why) {
		va_list ap;
		va_start(ap, fmt);
		(void)vsnprintf(why->text, sizeof why->text, fmt, ap);
		va_end(ap);
		flatten(why->text);
	}
	return err;
}

int reason_prefix(struct reason *why, int err, const char *fmt, ...)
{
	if (why) {
		struct reason inner = *why;
		va_list ap;
		va_start(ap, fmt);
		(void)vsnprintf(why->text, sizeof why->text, fmt, ap);
		va_end(ap);
		size_t n = strlen(why->text);
		const char *parts[] = { ": ", inner.text };
		for (size_t i = 0; i < 2; i++) {
			size_t len = strnlen(parts[i], sizeof why->text - 1 - n);
			memcpy(why->text + n, parts[i], len);
			n += len;
			why->text[n] = '\0';
		}
		flatten(why->text);
	}
	return err;
}
