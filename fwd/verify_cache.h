/* verify_cache.h - which server knows which recipient, as far as it has been asked: bounded, with a time for each answer.
 * The local part of a recipient is compared as it stands, its domain without regard to case.
 * Lives in memory; its text form is a file that a restart reads (docs/spool-format.md).  It is a cache only: what is damaged is thrown away.
 * Pure: no clock, no file.
 */
#ifndef POSTERN_VERIFY_CACHE_H
#define POSTERN_VERIFY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "span.h"

struct verify_cache;

struct verify_entry {
	struct span server; /* route_key */
	struct span path;
	int64_t until;      /* seconds since 1970 */
	struct span line;   /* empty: the recipient is known; else how the server refused it */
};

int verify_cache_create(size_t entries_max, struct verify_cache **out);
void verify_cache_destroy(struct verify_cache **cache);

/* An answer that is still good at now; its spans live until the next change. */
bool verify_cache_find(struct verify_cache *cache, struct span server, struct span path, int64_t now, struct verify_entry *out);

/* In place of what was known before; the oldest makes room.  ERR_NOMEM, ERR_TOOLONG (over 16 bits): then it is not remembered. */
int verify_cache_put(struct verify_cache *cache, const struct verify_entry *entry);

/* What any server said of it.  Returns how many. */
size_t verify_cache_forget(struct verify_cache *cache, struct span path);

size_t verify_cache_count(const struct verify_cache *cache);
void verify_cache_clear(struct verify_cache *cache);

/* The file, in pieces, so that a full cache holds nobody up: begin, then some until it is STEP_DONE.  Each appends at most entries_max entries.  What
 * changes in between is in the file or is not.  STEP_FAIL: as buf does; begin again.  One at a time. */
void verify_cache_write_begin(struct verify_cache *cache);
enum step verify_cache_write_some(struct verify_cache *cache, int64_t now, size_t entries_max, struct buf *out);
/* Into an empty cache.  ERR_CORRUPT: it is no such file, or a line of it is broken; the cache is empty then. */
int verify_cache_read(struct verify_cache *cache, struct span text, int64_t now);

#endif
