/* kv.h - one line of key=value pairs: the form of log lines, of control answers and of what tools read back.
 * Form: `key=value key="value with spaces"`, separated by one space.  Inside quotes: \" \\ and \xNN for every byte outside
 * printable ASCII.  So a value never breaks a line, whatever a peer put into it.
 * Limits: a value is cut at KV_VALUE_CAP bytes (before escaping) and then ends in "..."; a line that is full drops further pairs.
 */
#ifndef POSTERN_KV_H
#define POSTERN_KV_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "span.h"

#define KV_VALUE_CAP 256
#define KV_LINE_CAP 2048

struct kv {
	size_t len;
	char text[KV_LINE_CAP]; /* always terminated */
};

void kv_init(struct kv *kv);
void kv_span(struct kv *kv, const char *key, struct span value);
void kv_text(struct kv *kv, const char *key, const char *value); /* NULL counts as empty */
void kv_printf(struct kv *kv, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void kv_u64(struct kv *kv, const char *key, uint64_t value);
void kv_i64(struct kv *kv, const char *key, int64_t value);
void kv_hex(struct kv *kv, const char *key, uint64_t value); /* lower case, no prefix */
void kv_addr(struct kv *kv, const char *key, const struct addr *value);
void kv_endpoint(struct kv *kv, const char *key, const struct endpoint *value);

struct kv_pair {
	struct span key;
	size_t value_len;
	char value[KV_VALUE_CAP + 4]; /* unescaped, terminated (may hold other NULs) */
};

/* Read the next pair and move *rest behind it.  0, ERR_EOF at the end of the line, ERR_SYNTAX or ERR_TOOLONG. */
int kv_next(struct span *rest, struct kv_pair *out);

#endif
