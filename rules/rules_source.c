#include "rules_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "rules_ast.h"
#include "rules_parse.h"

/* The memory file: a head, one entry a file, then the bytes of each file's path, text and failure in this order. */
#define BUNDLE_MAGIC UINT64_C(0x31656c7572747370)
#define BUNDLE_MAX ((uint64_t)RULES_SOURCE_TOTAL_MAX + (64u << 20))
#define BUNDLE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define PATH_TEXT_MAX 4096u

struct bundle_head {
	uint64_t magic;
	uint64_t size_bytes;
	uint32_t count;
	uint32_t reserved;
};

struct bundle_entry {
	uint32_t path_len;
	uint32_t failure_len;
	uint64_t text_len;
};

struct rules_source {
	atomic_uint holders;
	struct rules_source_file *files;
	uint32_t count, room;
	uint64_t total_bytes;
	struct arena arena; /* paths, failures, small texts */
	void *map;          /* from_fd: where everything lies */
	size_t map_len;
	void **owned;       /* texts that were read, one a file; NULL entries for others */
};

static struct rules_source *source_new(void)
{
	struct rules_source *source = calloc(1, sizeof *source);
	if (source)
		atomic_init(&source->holders, 1);
	return source;
}

static int make_room(struct rules_source *source)
{
	if (source->count < source->room)
		return 0;
	uint32_t room = source->room ? source->room * 2 : 4;
	struct rules_source_file *files = realloc(source->files, room * sizeof *files);
	if (!files)
		return ERR_NOMEM;
	source->files = files;
	void **owned = realloc(source->owned, room * sizeof *owned);
	if (!owned)
		return ERR_NOMEM;
	source->owned = owned;
	source->room = room;
	return 0;
}

/* Takes text_memory over also when it fails. */
static int append(struct rules_source *source, struct rules_source_file file, void *text_memory)
{
	int err = source->count >= RULES_SOURCE_FILES_MAX ? ERR_TOOLONG : make_room(source);
	if (err) {
		free(text_memory);
		return err;
	}
	source->owned[source->count] = text_memory;
	source->files[source->count++] = file;
	source->total_bytes += file.text.len;
	return 0;
}

static int append_copy(struct rules_source *source, struct span path, struct span text, struct span failure)
{
	struct rules_source_file file = { .path = arena_copy(&source->arena, path), .failure = arena_copy(&source->arena, failure) };
	char *memory = malloc(text.len + 1);
	if (!memory || !file.path.ptr || !file.failure.ptr) {
		free(memory);
		return ERR_NOMEM;
	}
	if (text.len)
		memcpy(memory, text.ptr, text.len);
	file.text = (struct span){ memory, text.len };
	return append(source, file, memory);
}

static int read_whole(int fd, size_t max, char **text_out, size_t *len_out, struct reason *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return reason_set(why, err_from_errno(errno), "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return reason_set(why, ERR_INVAL, "not a regular file");
	if ((uint64_t)st.st_size > max)
		return reason_set(why, ERR_TOOLONG, "too big: expected at most %zu MiB", max >> 20);
	size_t size = (size_t)st.st_size, len = 0;
	char *text = malloc(size + 1);
	if (!text)
		return reason_set(why, ERR_NOMEM, "no memory");
	/* A file that grows while it is read is taken as long as it was at first. */
	while (len < size) {
		ssize_t got = read(fd, text + len, size - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int errnum = errno;
			free(text);
			return reason_set(why, err_from_errno(errnum), "%s", strerror(errnum));
		}
		if (got == 0)
			break;
		len += (size_t)got;
	}
	*text_out = text;
	*len_out = len;
	return 0;
}

/* Without the byte order mark that editors of other systems put in front of UTF-8: it would be part of the first word. */
static struct span without_mark(const char *text, size_t len)
{
	static const char mark[] = { '\xef', '\xbb', '\xbf' };
	struct span whole = { text, len };
	return len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0 ? span_sub(whole, sizeof mark, len) : whole;
}

static int read_file(const char *path, size_t max, char **text_out, size_t *len_out, struct reason *why)
{
	/* O_NONBLOCK: a FIFO in the place of the file must not hold the master. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "%s", strerror(errno));
	int err = read_whole(fd, max, text_out, len_out, why);
	(void)close(fd);
	return err;
}

/* One list that the rule file names; what goes wrong stays with the entry. */
static int read_list(struct rules_source *source, struct span folder, struct span path)
{
	char full[PATH_TEXT_MAX];
	char *text = NULL;
	size_t len = 0;
	struct reason why = { "" };
	if (rules_source_find(source, path))
		return 0;
	bool is_absolute = path.len && path.ptr[0] == '/';
	int need = snprintf(full, sizeof full, "%.*s%.*s", is_absolute ? 0 : (int)folder.len, folder.ptr ? folder.ptr : "", SPAN_FMT(path));
	if (need < 0 || (size_t)need >= sizeof full)
		return append_copy(source, path, SPAN_LIT(""), SPAN_LIT("path too long"));
	if (read_file(full, RULES_SOURCE_LIST_MAX, &text, &len, &why))
		return append_copy(source, path, SPAN_LIT(""), span_of(why.text));
	if (source->total_bytes + len > RULES_SOURCE_TOTAL_MAX) {
		free(text);
		return append_copy(source, path, SPAN_LIT(""), SPAN_LIT("all lists together are too big"));
	}
	struct rules_source_file file = { .path = arena_copy(&source->arena, path), .text = without_mark(text, len), .failure = SPAN_LIT("") };
	if (!file.path.ptr) {
		free(text);
		return ERR_NOMEM;
	}
	return append(source, file, text);
}

static int read_lists(struct rules_source *source, struct span folder, const struct rules_ast *ast)
{
	int err = 0;
	for (const struct ast_rule *rule = ast->first; rule && !err; rule = rule->next) {
		struct span path;
		if (rule->access_path.text.ptr)
			err = read_list(source, folder, rule->access_path.text);
		for (int i = 0; i < RULES_LIST_COUNT; i++)
			for (const struct ast_part *part = rule->lists[i].parts; part; part = part->next)
				for (const struct ast_word *word = part->words; word && !err; word = word->next)
					if (ast_word_names_file(word, &path))
						err = read_list(source, folder, path);
	}
	return err;
}

int rules_source_read_one(const char *path, size_t max_bytes, struct rules_source **out, struct reason *why)
{
	char *text = NULL;
	size_t len = 0;
	int err = read_file(path, max_bytes, &text, &len, why);
	if (err)
		return reason_prefix(why, err, "%s", path);
	struct rules_source *source = source_new();
	struct rules_source_file file = { .text = without_mark(text, len), .failure = SPAN_LIT("") };
	if (source)
		file.path = arena_copy(&source->arena, span_of(path));
	if (!source || !file.path.ptr) {
		free(text);
		err = ERR_NOMEM;
	} else {
		err = append(source, file, text);
	}
	if (err) {
		rules_source_release(&source);
		return reason_set(why, err, "%s: no memory", path);
	}
	*out = source;
	return 0;
}

int rules_source_read(const char *path, struct rules_source **out, struct reason *why)
{
	struct rules_source *source = NULL;
	struct span name = span_of(path);
	size_t slash = span_rfind(name, '/');
	struct span folder = slash < name.len ? span_sub(name, 0, slash + 1) : SPAN_LIT("");
	struct rules_ast ast = { 0 };
	int err = rules_source_read_one(path, RULES_SOURCE_FILE_MAX, &source, why);
	if (err)
		return err;
	/* Only the names of the lists matter here; whoever compiles reports the errors. */
	err = rules_parse(source->files[0].path, source->files[0].text, NULL, &ast);
	if (!err)
		err = read_lists(source, folder, &ast);
	rules_ast_free(&ast);
	if (err) {
		rules_source_release(&source);
		return reason_set(why, err, err == ERR_TOOLONG ? "%s: names more than %u files" : "%s: no memory (%u files at most)", path,
				  RULES_SOURCE_FILES_MAX);
	}
	*out = source;
	return 0;
}

int rules_source_from_text(struct span name, struct span text, struct rules_source **out)
{
	struct rules_source *source = source_new();
	int err = source ? append_copy(source, name, text, SPAN_LIT("")) : ERR_NOMEM;
	if (err) {
		rules_source_release(&source);
		return err;
	}
	*out = source;
	return 0;
}

int rules_source_add(struct rules_source *source, struct span path, struct span text)
{
	return append_copy(source, path, text, SPAN_LIT(""));
}

static int write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;
	while (len) {
		ssize_t put = write(fd, at, len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_from_errno(errno);
		at += put;
		len -= (size_t)put;
	}
	return 0;
}

static int write_bundle(const struct rules_source *source, int fd)
{
	struct bundle_head head = { .magic = BUNDLE_MAGIC, .count = source->count };
	head.size_bytes = sizeof head + source->count * sizeof(struct bundle_entry);
	for (uint32_t i = 0; i < source->count; i++) {
		const struct rules_source_file *f = &source->files[i];
		head.size_bytes += f->path.len + f->text.len + f->failure.len;
	}
	int err = write_all(fd, &head, sizeof head);
	for (uint32_t i = 0; i < source->count && !err; i++) {
		const struct rules_source_file *f = &source->files[i];
		struct bundle_entry entry = { (uint32_t)f->path.len, (uint32_t)f->failure.len, f->text.len };
		err = write_all(fd, &entry, sizeof entry);
	}
	for (uint32_t i = 0; i < source->count && !err; i++) {
		const struct rules_source_file *f = &source->files[i];
		err = write_all(fd, f->path.ptr, f->path.len);
		if (!err)
			err = write_all(fd, f->text.ptr, f->text.len);
		if (!err)
			err = write_all(fd, f->failure.ptr, f->failure.len);
	}
	if (!err && fcntl(fd, F_ADD_SEALS, BUNDLE_SEALS | F_SEAL_SEAL) != 0)
		err = err_from_errno(errno);
	return err;
}

int rules_source_to_fd(const struct rules_source *source, int *fd_out, struct reason *why)
{
	int fd = memfd_create("postern-rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "memory file for the rules: %s", strerror(errno));
	int err = write_bundle(source, fd);
	if (err) {
		(void)close(fd);
		return reason_set(why, err, "memory file for the rules: %s", err_name(err));
	}
	*fd_out = fd;
	return 0;
}

/* Cuts len bytes off *rest. */
static bool take(struct span *rest, uint64_t len, struct span *out)
{
	if (len > rest->len)
		return false;
	*out = span_sub(*rest, 0, (size_t)len);
	*rest = span_sub(*rest, (size_t)len, rest->len);
	return true;
}

static int read_bundle(struct rules_source *source)
{
	struct span rest = { source->map, source->map_len }, bytes, entries;
	struct bundle_head head;
	if (!take(&rest, sizeof head, &bytes))
		return ERR_PROTO;
	memcpy(&head, bytes.ptr, sizeof head);
	if (head.magic != BUNDLE_MAGIC || head.size_bytes != source->map_len || head.count == 0 || head.count > RULES_SOURCE_FILES_MAX ||
	    !take(&rest, head.count * sizeof(struct bundle_entry), &entries))
		return ERR_PROTO;
	for (uint32_t i = 0; i < head.count; i++) {
		struct bundle_entry entry;
		struct rules_source_file file;
		(void)take(&entries, sizeof entry, &bytes);
		memcpy(&entry, bytes.ptr, sizeof entry);
		if (entry.path_len > PATH_TEXT_MAX || entry.failure_len > REASON_CAP || !take(&rest, entry.path_len, &file.path) ||
		    !take(&rest, entry.text_len, &file.text) || !take(&rest, entry.failure_len, &file.failure))
			return ERR_PROTO;
		int err = append(source, file, NULL);
		if (err)
			return err;
	}
	return rest.len == 0 ? 0 : ERR_PROTO;
}

int rules_source_from_fd(int fd, struct rules_source **out, struct reason *why)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	/* Without the seals the sender could change or cut what was checked already. */
	if (seals < 0 || (seals & BUNDLE_SEALS) != BUNDLE_SEALS)
		return reason_set(why, ERR_PROTO, "memory file for the rules: not sealed");
	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(struct bundle_head) || (uint64_t)st.st_size > BUNDLE_MAX)
		return reason_set(why, ERR_PROTO, "memory file for the rules: bad size");
	/* Private: kernels before 6.7 refuse a shared mapping of a sealed file, even a read-only one.  The pages are shared all the same. */
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return reason_set(why, err_from_errno(errno), "memory file for the rules: %s", strerror(errno));
	struct rules_source *source = source_new();
	int err = ERR_NOMEM;
	if (source) {
		source->map = map;
		source->map_len = (size_t)st.st_size;
		err = read_bundle(source);
	} else {
		(void)munmap(map, (size_t)st.st_size);
	}
	if (err) {
		rules_source_release(&source);
		return reason_set(why, err, "memory file for the rules: %s", err_name(err));
	}
	*out = source;
	return 0;
}

bool rules_source_is_same(int fd, int other_fd)
{
	struct stat a, b;
	if (fstat(fd, &a) != 0 || fstat(other_fd, &b) != 0 || a.st_size != b.st_size || a.st_size == 0)
		return false;
	size_t size = (size_t)a.st_size;
	void *x = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	void *y = mmap(NULL, size, PROT_READ, MAP_PRIVATE, other_fd, 0);
	bool same = x != MAP_FAILED && y != MAP_FAILED && memcmp(x, y, size) == 0;
	if (x != MAP_FAILED)
		(void)munmap(x, size);
	if (y != MAP_FAILED)
		(void)munmap(y, size);
	return same;
}

uint32_t rules_source_count(const struct rules_source *source)
{
	return source->count;
}

const struct rules_source_file *rules_source_get(const struct rules_source *source, uint32_t index)
{
	return index < source->count ? &source->files[index] : NULL;
}

const struct rules_source_file *rules_source_find(const struct rules_source *source, struct span path)
{
	for (uint32_t i = 1; i < source->count; i++)
		if (span_eq(source->files[i].path, path))
			return &source->files[i];
	return NULL;
}

struct rules_source *rules_source_hold(struct rules_source *source)
{
	atomic_fetch_add(&source->holders, 1);
	return source;
}

void rules_source_release(struct rules_source **source)
{
	struct rules_source *s = *source;
	*source = NULL;
	if (!s || atomic_fetch_sub(&s->holders, 1) != 1)
		return;
	for (uint32_t i = 0; i < s->count; i++)
		free(s->owned[i]);
	free(s->owned);
	free(s->files);
	arena_free(&s->arena);
	if (s->map)
		(void)munmap(s->map, s->map_len);
	free(s);
}
