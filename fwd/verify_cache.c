#include "verify_cache.h"

#include <stdlib.h>
#include <string.h>

#include "kv.h"

#define ROOM_MIN 256u

static const struct span head_line = { "postern-verify 1\n", 17 };
static const struct span tail_line = { "end\n", 4 };

struct item {
	struct item *hash_next;
	struct item *prev, *next; /* by age */
	int64_t until;
	uint16_t server_len, path_len, line_len;
	char text[]; /* server, path, line */
};

struct verify_cache {
	struct item **slots;
	size_t room, count, max;
	struct item *oldest, *newest;
	struct item *cursor;   /* of the writing: the next entry */
	bool has_begun;        /* the first line is out */
};

static struct span item_server(const struct item *i)
{
	return (struct span){ i->text, i->server_len };
}

static struct span item_path(const struct item *i)
{
	return (struct span){ i->text + i->server_len, i->path_len };
}

static struct span item_line(const struct item *i)
{
	return (struct span){ i->text + i->server_len + i->path_len, i->line_len };
}

static struct verify_entry entry_of(const struct item *i)
{
	return (struct verify_entry){ item_server(i), item_path(i), i->until, item_line(i) };
}

static bool is_same_path(struct span a, struct span b)
{
	size_t at = span_rfind(a, '@');
	return span_eq(span_sub(a, 0, at), span_sub(b, 0, span_rfind(b, '@'))) && span_eq_nocase(a, b);
}

static size_t slot_of(const struct verify_cache *c, struct span server, struct span path)
{
	return (size_t)(span_hash_nocase(server) * 31 + span_hash_nocase(path)) & (c->room - 1);
}

static struct item **link_to(const struct verify_cache *c, struct span server, struct span path)
{
	struct item **link = &c->slots[slot_of(c, server, path)];
	while (*link && !(span_eq(item_server(*link), server) && is_same_path(item_path(*link), path)))
		link = &(*link)->hash_next;
	return link;
}

static void drop(struct verify_cache *c, struct item **link)
{
	struct item *i = *link;
	*link = i->hash_next;
	if (c->cursor == i)
		c->cursor = i->next;
	*(i->prev ? &i->prev->next : &c->oldest) = i->next;
	*(i->next ? &i->next->prev : &c->newest) = i->prev;
	c->count--;
	free(i);
}

static void drop_oldest(struct verify_cache *c)
{
	struct item *i = c->oldest;
	drop(c, link_to(c, item_server(i), item_path(i)));
}

static int grow(struct verify_cache *c)
{
	size_t room = c->room ? c->room * 2 : ROOM_MIN;
	struct item **slots = calloc(room, sizeof *slots);
	if (!slots)
		return ERR_NOMEM;
	free(c->slots);
	c->slots = slots;
	c->room = room;
	for (struct item *i = c->oldest; i; i = i->next) {
		struct item **head = &c->slots[slot_of(c, item_server(i), item_path(i))];
		i->hash_next = *head;
		*head = i;
	}
	return 0;
}

int verify_cache_create(size_t entries_max, struct verify_cache **out)
{
	struct verify_cache *c = calloc(1, sizeof *c);
	if (!c || grow(c) != 0) {
		free(c);
		return ERR_NOMEM;
	}
	c->max = entries_max;
	*out = c;
	return 0;
}

void verify_cache_clear(struct verify_cache *cache)
{
	while (cache->oldest)
		drop_oldest(cache);
}

void verify_cache_destroy(struct verify_cache **cache)
{
	if (!*cache)
		return;
	verify_cache_clear(*cache);
	free((*cache)->slots);
	free(*cache);
	*cache = NULL;
}

bool verify_cache_find(struct verify_cache *cache, struct span server, struct span path, int64_t now, struct verify_entry *out)
{
	struct item **link = link_to(cache, server, path);
	if (!*link)
		return false;
	if ((*link)->until <= now) {
		drop(cache, link);
		return false;
	}
	*out = entry_of(*link);
	return true;
}

int verify_cache_put(struct verify_cache *c, const struct verify_entry *e)
{
	if (e->server.len > UINT16_MAX || e->path.len > UINT16_MAX || e->line.len > UINT16_MAX)
		return ERR_TOOLONG;
	if (c->count >= c->room && grow(c) != 0)
		return ERR_NOMEM;
	struct item *i = malloc(sizeof *i + e->server.len + e->path.len + e->line.len);
	if (!i)
		return ERR_NOMEM;
	*i = (struct item){ .until = e->until,
			    .server_len = (uint16_t)e->server.len,
			    .path_len = (uint16_t)e->path.len,
			    .line_len = (uint16_t)e->line.len };
	memcpy(i->text, e->server.ptr, e->server.len);
	memcpy(i->text + i->server_len, e->path.ptr, e->path.len);
	if (e->line.len)
		memcpy(i->text + i->server_len + i->path_len, e->line.ptr, e->line.len);
	struct item **link = link_to(c, item_server(i), item_path(i));
	if (*link)
		drop(c, link);
	while (c->count >= c->max)
		drop_oldest(c);
	struct item **head = &c->slots[slot_of(c, item_server(i), item_path(i))];
	i->hash_next = *head;
	*head = i;
	i->prev = c->newest;
	*(c->newest ? &c->newest->next : &c->oldest) = i;
	c->newest = i;
	c->count++;
	return 0;
}

size_t verify_cache_forget(struct verify_cache *c, struct span path)
{
	size_t before = c->count;
	for (struct item *i = c->oldest, *next; i; i = next) {
		next = i->next;
		if (is_same_path(item_path(i), path))
			drop(c, link_to(c, item_server(i), item_path(i)));
	}
	return before - c->count;
}

size_t verify_cache_count(const struct verify_cache *cache)
{
	return cache->count;
}

/* ---- the file: a line that says what it is, one line of pairs an entry, and a last line, so that a file cut short shows */

void verify_cache_write_begin(struct verify_cache *cache)
{
	cache->cursor = cache->oldest;
	cache->has_begun = false;
}

static int write_entry(const struct item *i, struct buf *out)
{
	struct kv kv;
	kv_init(&kv);
	kv_i64(&kv, "until", i->until);
	kv_span(&kv, "server", item_server(i));
	kv_span(&kv, "to", item_path(i));
	kv_span(&kv, "line", item_line(i));
	int err = buf_append(out, kv.text, kv.len);
	return err ? err : buf_append(out, "\n", 1);
}

enum step verify_cache_write_some(struct verify_cache *cache, int64_t now, size_t entries_max, struct buf *out)
{
	if (!cache->has_begun && buf_append_span(out, head_line) != 0)
		return STEP_FAIL;
	cache->has_begun = true;
	for (; cache->cursor && entries_max > 0; entries_max--) {
		const struct item *i = cache->cursor;
		/* What kv would cut is not written. */
		bool fits = i->server_len < KV_VALUE_CAP && i->path_len < KV_VALUE_CAP && i->line_len < KV_VALUE_CAP;
		if (i->until > now && fits && write_entry(i, out) != 0)
			return STEP_FAIL;
		cache->cursor = i->next;
	}
	if (cache->cursor)
		return STEP_WAIT;
	return buf_append_span(out, tail_line) == 0 ? STEP_DONE : STEP_FAIL;
}

static bool take_pair(struct span *rest, const char *key, struct kv_pair *out)
{
	return kv_next(rest, out) == 0 && span_eq(out->key, span_of(key));
}

static int read_line(struct verify_cache *c, struct span line, int64_t now)
{
	struct kv_pair until, server, path, reply;
	uint64_t seconds;
	if (!take_pair(&line, "until", &until) || !take_pair(&line, "server", &server) || !take_pair(&line, "to", &path) ||
	    !take_pair(&line, "line", &reply) || span_to_u64((struct span){ until.value, until.value_len }, INT64_MAX, &seconds) != 0)
		return ERR_CORRUPT;
	if ((int64_t)seconds <= now)
		return 0;
	const struct verify_entry entry = { { server.value, server.value_len }, { path.value, path.value_len }, (int64_t)seconds,
					    { reply.value, reply.value_len } };
	return verify_cache_put(c, &entry);
}

int verify_cache_read(struct verify_cache *c, struct span text, int64_t now)
{
	bool is_whole = text.len >= head_line.len + tail_line.len && span_eq(span_sub(text, 0, head_line.len), head_line) &&
			span_eq(span_sub(text, text.len - tail_line.len, text.len), tail_line);
	if (!is_whole)
		return ERR_CORRUPT;
	text = span_sub(text, head_line.len, text.len - tail_line.len);
	int err = 0;
	while (text.len > 0 && !err) {
		size_t end = span_find(text, '\n', 0);
		err = end < text.len ? read_line(c, span_sub(text, 0, end), now) : ERR_CORRUPT;
		text = span_sub(text, end + 1, text.len);
	}
	if (err)
		verify_cache_clear(c);
	return err;
}
