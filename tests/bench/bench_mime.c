/* bench_mime [--show] DIRECTORY...: walks the MIME of all messages (*.txt, *.eml) in the directories and below.
 * Without --show prints MB/s of the walk, beside memchr for line ends over the same bytes.  With it prints what is shown, for a comparison with other decoders:
 *   message PATH FLAGS
 *   H|T|N LENGTH PART
 *   LENGTH bytes, then a newline */
#include <fts.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "mime_walk.h"

#define PIECE 16384u
#define ROUNDS 5u

struct message {
	char *path;
	struct span bytes;
};

static struct message *messages;
static size_t count, room;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void add(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		die(path);
	if (count == room) {
		room = room ? room * 2 : 1024;
		messages = realloc(messages, room * sizeof *messages);
		if (!messages)
			die("memory");
	}
	struct message *m = &messages[count++];
	m->path = strdup(path);
	m->bytes = (struct span){ NULL, (size_t)st.st_size };
	if (st.st_size > 0) {
		char *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
		if (map == MAP_FAILED)
			die(path);
		m->bytes.ptr = map;
	}
	(void)close(fd);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void read_all(char **directories)
{
	FTS *fts = fts_open(directories, FTS_LOGICAL, by_name);
	if (!fts)
		die("fts_open");
	for (FTSENT *e; (e = fts_read(fts)) != NULL;) {
		struct span name = span_of(e->fts_name);
		if (e->fts_info == FTS_F && (span_ends_nocase(name, SPAN_LIT(".txt")) || span_ends_nocase(name, SPAN_LIT(".eml"))))
			add(e->fts_path);
	}
	(void)fts_close(fts);
}

static void walk(const struct message *m, mime_sink sink, void *owner, unsigned *flags_out)
{
	struct mime_walk *w = NULL;
	if (mime_walk_open(MIME_PLAIN, sink, owner, &w) != 0)
		die("memory");
	for (size_t at = 0; at < m->bytes.len; at += PIECE)
		if (mime_walk_push(w, span_sub(m->bytes, at, at + PIECE)) != 0)
			die("walk");
	if (mime_walk_finish(w) != 0)
		die("walk");
	*flags_out = mime_walk_flags(w);
	mime_walk_close(&w);
}

struct whole {
	struct buf text;
};

static void show_piece(void *owner, const struct mime_piece *piece)
{
	struct whole *w = owner;
	if (buf_append_span(&w->text, piece->text) != 0)
		die("memory");
	if (!piece->is_last)
		return;
	printf("%c %zu %u\n", "HTN"[piece->kind], w->text.len, piece->part);
	(void)fwrite(w->text.data, 1, w->text.len, stdout);
	putchar('\n');
	buf_clear(&w->text);
}

static void show(void)
{
	struct whole whole = { .text = { .cap = 0 } };
	for (size_t i = 0; i < count; i++) {
		unsigned flags;
		printf("message %s\n", messages[i].path);
		walk(&messages[i], show_piece, &whole, &flags);
		printf("end %u\n", flags);
	}
	buf_free(&whole.text);
}

struct tally {
	uint64_t bytes, pieces[3];
};

static void count_piece(void *owner, const struct mime_piece *piece)
{
	struct tally *t = owner;
	t->bytes += piece->text.len;
	t->pieces[piece->kind]++;
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(void)
{
	uint64_t bytes = 0, lines = 0;
	struct tally t = { .bytes = 0 };
	double walked = 1e9, scanned = 1e9;
	for (size_t i = 0; i < count; i++)
		bytes += messages[i].bytes.len;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned flags;
		double begun = now();
		t = (struct tally){ .bytes = 0 };
		for (size_t i = 0; i < count; i++)
			walk(&messages[i], count_piece, &t, &flags);
		double took = now() - begun;
		walked = took < walked ? took : walked;
		begun = now();
		lines = 0;
		for (size_t i = 0; i < count; i++)
			for (size_t at = 0; at < messages[i].bytes.len; at++, lines++)
				at = span_find(messages[i].bytes, '\n', at);
		took = now() - begun;
		scanned = took < scanned ? took : scanned;
	}
	double mb = (double)bytes / 1e6;
	printf("%zu messages, %.1f MB, %.1f MB of it shown: %llu fields, %llu lines, %llu names; best of %u rounds, processor time\n", count, mb, (double)t.bytes / 1e6,
	       (unsigned long long)t.pieces[MIME_HEADER], (unsigned long long)t.pieces[MIME_TEXT], (unsigned long long)t.pieces[MIME_NAME], ROUNDS);
	printf("walk                    %7.0f MB/s  %6.1f us a message\n", mb / walked, walked * 1e6 / (double)count);
	printf("line ends by memchr     %7.0f MB/s  (%llu lines)\n", mb / scanned, (unsigned long long)lines);
}

int main(int argc, char **argv)
{
	bool shows = argc > 1 && strcmp(argv[1], "--show") == 0;
	if (argc < (shows ? 3 : 2)) {
		(void)fprintf(stderr, "usage: bench_mime [--show] DIRECTORY...\n");
		return 2;
	}
	mime_walk_init_prepriv();
	read_all(argv + 1 + shows);
	if (count == 0) {
		(void)fprintf(stderr, "bench_mime: no messages there\n");
		return 1;
	}
	if (shows)
		show();
	else
		measure();
	return 0;
}
