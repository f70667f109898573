/* bench_filter FILTER ROUNDS: what the content filter costs.  Reads the names of messages (as they lie on a disk, with LF) from standard input, one a
 * line; puts all into memory in wire form, and pushes each through a scan in pieces of 16 KiB, ROUNDS times.  Prints one line:
 *   patterns N loose N load_ms MS set_kib KIB mib MIB seconds S messages N matched N unknown N scan_bytes BYTES
 * set_kib: what the process has grown by; seconds: of the quickest round; scan_bytes: the most that one scan held beside the set. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "filter_scan.h"
#include "mime_walk.h"
#include "rules_source.h"
#include "smtp_dot.h"

#define PIECE 16384u
#define ALL_CAP (2u << 30)

struct corpus {
	struct buf wire;
	size_t *ends;
	size_t count, room;
};

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench_filter: %s: %s\n", what, why);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void take_message(struct corpus *c, const char *path)
{
	char bytes[PIECE];
	struct smtp_dot dot;
	size_t len;
	FILE *file = fopen(path, "re");
	if (!file)
		die(path, "cannot be read");
	smtp_dot_init(&dot);
	while ((len = fread(bytes, 1, sizeof bytes, file)) > 0)
		if (smtp_dot_push(&dot, (struct span){ bytes, len }, &c->wire) != 0)
			die(path, "no memory");
	(void)fclose(file);
	if (smtp_dot_finish(&dot, &c->wire) != 0)
		die(path, "no memory");
	if (c->count == c->room) {
		c->room = c->room * 2 + 1024;
		c->ends = realloc(c->ends, c->room * sizeof *c->ends);
		if (!c->ends)
			die(path, "no memory");
	}
	c->ends[c->count++] = c->wire.len;
}

/* With machine code, which malloc knows nothing of. */
static size_t resident_kib(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (!file || fscanf(file, "%*u %lu", &pages) != 1)
		die("/proc/self/statm", "cannot be read");
	(void)fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static struct filter_set *load(const char *path)
{
	struct rules_source *source = NULL;
	struct filter_set *set = NULL;
	struct rules_diags diags = { 0 };
	struct reason why = { "" };
	char line[RULES_DIAG_LINE_CAP];
	if (rules_source_read_one(path, 16u << 20, &source, &why) != 0)
		die(path, why.text);
	if (filter_set_compile(span_of(path), rules_source_get(source, 0)->text, &diags, &set) != 0)
		die("patterns", diags.first ? rules_diag_format(diags.first, line) : "no memory");
	rules_diags_free(&diags);
	rules_source_release(&source);
	return set;
}

struct tally {
	size_t matched, unknown, most_bytes;
};

static void scan_one(struct filter_set *set, struct span wire, bool is_measured, struct tally *tally)
{
	size_t before = is_measured ? mallinfo2().uordblks : 0;
	struct filter_scan *scan = NULL;
	struct filter_result result;
	if (filter_scan_create(set, &scan) != 0)
		die("scan", "no memory");
	for (size_t at = 0; at < wire.len; at += PIECE)
		filter_scan_push_all(scan, span_sub(wire, at, at + PIECE));
	size_t held = is_measured ? mallinfo2().uordblks - before : 0;
	filter_scan_end(scan, &result);
	filter_scan_destroy(&scan);
	/* Less than nothing, where memory that is not the scan's was freed meanwhile. */
	if (held < SIZE_MAX / 2 && held > tally->most_bytes)
		tally->most_bytes = held;
	tally->matched += result.outcome == FILTER_MATCHED;
	tally->unknown += result.outcome == FILTER_UNKNOWN;
}

static struct tally scan_all(struct filter_set *set, const struct corpus *c, bool is_measured)
{
	struct tally tally = { 0, 0, 0 };
	size_t begin = 0;
	for (size_t i = 0; i < c->count; i++) {
		scan_one(set, span_sub(buf_span(&c->wire), begin, c->ends[i]), is_measured, &tally);
		begin = c->ends[i];
	}
	return tally;
}

int main(int argc, char **argv)
{
	struct corpus corpus = { .wire = { .cap = ALL_CAP } };
	char path[4096];
	if (argc != 3)
		die("usage", "bench_filter FILTER ROUNDS <NAMES");
	while (fgets(path, sizeof path, stdin)) {
		path[strcspn(path, "\n")] = '\0';
		take_message(&corpus, path);
	}
	mime_walk_init_prepriv();
	size_t before_kib = resident_kib();
	double begin = now_s(), best = 1e9;
	struct filter_set *set = load(argv[1]);
	double load_s = now_s() - begin;
	size_t loose = 0;
	for (int kind = 0; kind < FILTER_KINDS; kind++)
		loose += filter_set_measure(set, (enum filter_kind)kind).loose;
	/* Once without a clock: machine code is made, memory is there. */
	struct tally tally = scan_all(set, &corpus, true);
	size_t after_kib = resident_kib();
	for (int round = atoi(argv[2]); round > 0; round--) {
		begin = now_s();
		(void)scan_all(set, &corpus, false);
		double took = now_s() - begin;
		best = took < best ? took : best;
	}
	(void)printf("patterns %zu loose %zu load_ms %.1f set_kib %zu mib %.2f seconds %.5f messages %zu matched %zu unknown %zu scan_bytes %zu\n",
		     filter_set_count(set), loose, load_s * 1e3, after_kib - before_kib, (double)corpus.wire.len / 1048576, best, corpus.count, tally.matched,
		     tally.unknown, tally.most_bytes);
	filter_set_release(&set);
	buf_free(&corpus.wire);
	free(corpus.ends);
	return 0;
}
