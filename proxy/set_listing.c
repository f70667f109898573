#include "set_listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "loop.h"
#include "set_text.h"

#define FILE_CAP (256u << 20)
#define WRITE_CHUNK 65536u

struct text_file {
	int fd;
	struct buf buf;
	bool has_failed;
};

static void flush_text(struct text_file *t)
{
	size_t done = 0;
	while (done < t->buf.len && !t->has_failed) {
		ssize_t n = write(t->fd, t->buf.data + done, t->buf.len - done);
		t->has_failed = n <= 0;
		done += n > 0 ? (size_t)n : 0;
	}
	buf_clear(&t->buf);
}

static void put_text(struct text_file *t, const char *text, size_t len)
{
	if (buf_append(&t->buf, text, len) != 0)
		t->has_failed = true;
	if (t->buf.len >= WRITE_CHUNK)
		flush_text(t);
}

static int end_text(struct text_file *t)
{
	flush_text(t);
	buf_free(&t->buf);
	if (!t->has_failed)
		return t->fd;
	(void)close(t->fd);
	return -1;
}

static bool begin_text(struct text_file *t)
{
	*t = (struct text_file){ .fd = memfd_create("postern-sets", MFD_CLOEXEC), .buf.cap = 2 * WRITE_CHUNK };
	return t->fd >= 0;
}

int set_listing_text(const struct set_table *table)
{
	char line[SET_TEXT_LINE_CAP];
	struct text_file t;
	struct set_entry entry;
	size_t cursor = 0;
	int64_t now = loop_wall_time();
	if (!begin_text(&t))
		return -1;
	put_text(&t, SET_TEXT_HEAD "\n", sizeof SET_TEXT_HEAD);
	while (set_table_next(table, &cursor, &entry))
		if (!entry.element.expires_at || entry.element.expires_at > now)
			put_text(&t, line, set_text_line(entry.set, &entry.element, line));
	return end_text(&t);
}

int set_listing_lines(const struct set_table *table, unsigned wanted)
{
	char line[SET_TEXT_LINE_CAP * 2], text[KERNEL_ELEMENT_TEXT_CAP];
	struct text_file t;
	struct set_entry entry;
	size_t cursor = 0;
	int64_t now = loop_wall_time();
	if (!begin_text(&t))
		return -1;
	while (set_table_next(table, &cursor, &entry)) {
		const struct kernel_element *e = &entry.element;
		if (!(wanted >> entry.set & 1) || (e->expires_at && e->expires_at <= now))
			continue;
		int len = snprintf(line, sizeof line, "set=%s address=%s expires=%" PRId64 " expires_in=%" PRId64 " state=%s\n",
				   kernel_set_name(entry.set), kernel_element_format(e, text), e->expires_at, e->expires_at ? e->expires_at - now : 0,
				   entry.is_in_kernel ? "active" : "waiting");
		put_text(&t, line, len > 0 ? (size_t)len : 0);
	}
	return end_text(&t);
}

static void load_text(struct set_table *table, struct span text)
{
	struct span line;
	size_t bad = 0, loaded = 0;
	int64_t now = loop_wall_time();
	while (span_cut(&text, '\n', &line)) {
		struct kernel_element element;
		enum kernel_set set;
		int err = set_text_parse(line, &set, &element);
		if (!err && element.expires_at && element.expires_at <= now)
			continue;
		if (!err)
			err = set_table_put(table, set, &element, false);
		bad += err && err != ERR_NOTFOUND;
		loaded += !err;
	}
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "sets-loaded");
	kv_u64(&kv, "elements", loaded);
	kv_u64(&kv, "bad_lines", bad);
	log_kv(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &kv);
}

void set_listing_load(struct set_table *table, int fd)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || st.st_size <= 0)
		return;
	size_t len = (size_t)st.st_size;
	void *text = len > FILE_CAP ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED) {
		log_event(LOG_LEVEL_ERR, "sets-lost", "what was kept of the sets cannot be read");
		return;
	}
	load_text(table, (struct span){ text, len });
	(void)munmap(text, len);
}
