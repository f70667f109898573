#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "route.h"
#include "verify_cache.h"
#include "verify_probe.h"

#define ENTRIES_MAX 100000u
#define FILE_CAP (64u << 20)
#define WRITE_EVERY_MS 300000u
#define WRITE_TURN_ENTRIES 1000u /* a fraction of a millisecond */
#define UNDER_WAY_MAX 2048u
#define SMTP_PORT 25u

#define FILE_NAME SPOOL_CACHE_DIR "/verify"
#define FILE_NEW SPOOL_CACHE_DIR "/.verify-new"

struct waiting {
	struct waiting *next;
	void *asker;
	uint64_t id;
};

/* One question to a server; answered once for all who wait. */
struct under_way {
	struct verify *verify;
	struct under_way *prev, *next;
	struct waiting *waiting;
	bool is_for_clients;
	char key[ROUTE_KEY_CAP];
	char path[VERIFY_PATH_CAP];
};

struct verify {
	struct forwarder *f;
	verify_answered_fn answered;
	struct verify_cache *cache;
	struct verify_probes *probes;
	struct under_way *under_way;
	unsigned count;
	struct verify_figures figures;
	struct loop_timer *write_timer;
	struct loop_task write_turn;
	struct write_job *writing; /* its text is being put together, or a job writes it */
	bool is_dirty;
};

/* ---- the file */

static int write_file(int root, struct span text)
{
	int fd = openat(root, FILE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = 0;
	while (text.len > 0 && !err) {
		ssize_t n = write(fd, text.ptr, text.len);
		if (n > 0)
			text = span_sub(text, (size_t)n, text.len);
		else if (n == 0 || errno != EINTR)
			err = n == 0 ? ERR_IO : err_from_errno(errno);
	}
	/* Not synced: after a power cut the old one, or one that shows that it is cut short. */
	if (close(fd) != 0 && !err)
		err = err_from_errno(errno);
	if (!err && renameat(root, FILE_NEW, root, FILE_NAME) != 0)
		err = err_from_errno(errno);
	return err;
}

struct write_job {
	struct verify *verify;
	int root;
	struct buf text;
	int err;
};

static void write_work(void *ctx)
{
	struct write_job *job = ctx;
	job->err = write_file(job->root, buf_span(&job->text));
}

static void note_change(struct verify *v)
{
	v->is_dirty = true;
	if (!v->writing)
		loop_timer_start(v->write_timer, WRITE_EVERY_MS);
}

static void write_done(void *ctx)
{
	struct write_job *job = ctx;
	struct verify *v = job->verify;
	if (job->err)
		log_event(LOG_LEVEL_WARN, "verify-cache", "%s can't be written: %s", FILE_NAME, err_name(job->err));
	v->writing = NULL;
	if (v->is_dirty || job->err)
		note_change(v);
	buf_free(&job->text);
	free(job);
}

static void write_turn(void *ctx)
{
	struct verify *v = ctx;
	struct write_job *job = v->writing;
	enum step step = verify_cache_write_some(v->cache, loop_wall_time(), WRITE_TURN_ENTRIES, &job->text);
	if (step == STEP_WAIT) {
		loop_task_post(v->f->loop, &v->write_turn);
	} else if (step == STEP_FAIL || loop_job_start(v->f->loop, write_work, write_done, job) != 0) {
		job->err = ERR_NOMEM;
		write_done(job);
	}
}

static void write_due(void *ctx)
{
	struct verify *v = ctx;
	v->writing = calloc(1, sizeof *v->writing);
	if (!v->writing) {
		note_change(v);
		return;
	}
	*v->writing = (struct write_job){ .verify = v, .root = v->f->in.dirs.root, .text = { .cap = FILE_CAP } };
	v->is_dirty = false;
	verify_cache_write_begin(v->cache);
	write_turn(v);
}

static int read_all(int fd, struct buf *out)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_CAP)
		return ERR_CORRUPT;
	for (;;) {
		int err = buf_reserve(out, 65536);
		ssize_t n = err ? 0 : read(fd, out->data + out->len, 65536);
		if (err)
			return err;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : 0;
		out->len += (size_t)n;
	}
}

static void load(struct verify *v)
{
	struct buf text = { .cap = FILE_CAP + 65536 };
	int fd = openat(v->f->in.dirs.root, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return;
	int err = fd < 0 ? err_from_errno(errno) : read_all(fd, &text);
	if (!err)
		err = verify_cache_read(v->cache, buf_span(&text), loop_wall_time());
	if (err)
		log_event(LOG_LEVEL_WARN, "verify-cache", "%s is not as we write it (%s): servers are asked anew", FILE_NAME, err_name(err));
	if (fd >= 0)
		(void)close(fd);
	buf_free(&text);
}

/* ---- answers */

/* X.7.Z is about who asks (RFC 3463), and mail for this recipient would come in somebody else's name. */
static bool is_about_us(bool is_for_clients, struct span reply)
{
	return is_for_clients && span_starts_nocase(span_sub(reply, 4, reply.len), SPAN_LIT("5.7."));
}

static void remember(struct verify *v, const struct under_way *u, const struct verify_answer *answer)
{
	const struct conf *conf = &v->f->in.conf;
	bool is_yes = answer->result == VERIFY_YES;
	const struct verify_entry entry = {
		.server = span_of(u->key),
		.path = span_of(u->path),
		.until = loop_wall_time() + (int64_t)(is_yes ? conf->verify_keep_yes_s : conf->verify_keep_no_s),
		.line = span_of(answer->line),
	};
	if (answer->result != VERIFY_UNKNOWN && verify_cache_put(v->cache, &entry) == 0)
		note_change(v);
}

static void unlink_under_way(struct under_way *u)
{
	struct verify *v = u->verify;
	*(u->prev ? &u->prev->next : &v->under_way) = u->next;
	if (u->next)
		u->next->prev = u->prev;
	v->count--;
}

static void log_answer(const struct under_way *u, enum verify_result result, struct span reply)
{
	static const char *const names[] = { [VERIFY_UNKNOWN] = "unknown", [VERIFY_YES] = "yes", [VERIFY_NO] = "no" };
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "verify");
	kv_text(&kv, "to", u->path);
	kv_text(&kv, "dst", u->key);
	kv_text(&kv, "known", names[result]);
	kv_span(&kv, "reply", reply);
	log_kv(LOG_LEVEL_INFO, &kv);
}

static void probed(void *ctx, enum verify_result result, struct span reply)
{
	struct under_way *u = ctx;
	struct verify *v = u->verify;
	struct verify_answer answer;
	memset(&answer, 0, sizeof answer);
	if (result == VERIFY_NO && (is_about_us(u->is_for_clients, reply) || verify_line_make(reply, answer.line) != 0))
		result = VERIFY_UNKNOWN;
	answer.result = (uint32_t)result;
	*(result == VERIFY_YES ? &v->figures.yes : result == VERIFY_NO ? &v->figures.no : &v->figures.unknown) += 1;
	log_answer(u, result, reply);
	remember(v, u, &answer);
	unlink_under_way(u);
	while (u->waiting) {
		struct waiting *w = u->waiting;
		u->waiting = w->next;
		answer.id = w->id;
		v->answered(w->asker, &answer);
		free(w);
	}
	free(u);
}

void verify_learn(struct verify *v, const struct route *route, struct span path, bool is_delivered)
{
	struct route asked = *route;
	struct verify_entry known;
	char key[ROUTE_KEY_CAP];
	int64_t now = loop_wall_time(), keep_s = (int64_t)v->f->in.conf.verify_keep_yes_s;
	asked.identity = IDENTITY_NONE;
	asked.spoofed.family = ADDR_NONE;
	const struct span server = span_of(route_key(&asked, key));
	if (path.len >= VERIFY_PATH_CAP)
		return;
	if (!is_delivered) {
		if (verify_cache_find(v->cache, server, path, now, &known) && known.line.len == 0)
			(void)verify_flush(v, path);
		return;
	}
	/* Mail to the same people all day is no reason to write the file all day. */
	if (verify_cache_find(v->cache, server, path, now, &known) && known.line.len == 0 && known.until - now > keep_s / 4 * 3)
		return;
	const struct verify_entry entry = { .server = server, .path = path, .until = now + keep_s };
	if (verify_cache_put(v->cache, &entry) == 0)
		note_change(v);
}

/* ---- questions */

static enum step answer_at_once(const struct verify_ask *ask, enum verify_result result, struct span line, struct verify_answer *out)
{
	memset(out, 0, sizeof *out);
	out->id = ask->id;
	/* The file is ours, but it is not believed blindly. */
	if (result == VERIFY_NO && verify_line_make(line, out->line) != 0)
		result = VERIFY_UNKNOWN;
	out->result = (uint32_t)result;
	return STEP_DONE;
}

static struct under_way *find(const struct verify *v, const struct route *route, const char *key, const char *path)
{
	struct under_way *u = v->under_way;
	while (u && (u->is_for_clients != route->is_for_clients || strcmp(u->path, path) != 0 || strcmp(u->key, key) != 0))
		u = u->next;
	return u;
}

static struct under_way *start(struct verify *v, const struct route *route, const char *key, const char *path)
{
	struct under_way *u = v->count < UNDER_WAY_MAX ? calloc(1, sizeof *u) : NULL;
	if (!u)
		return NULL;
	u->verify = v;
	u->is_for_clients = route->is_for_clients;
	(void)snprintf(u->key, sizeof u->key, "%s", key);
	(void)snprintf(u->path, sizeof u->path, "%s", path);
	if (verify_probe_start(v->probes, route, key, path, probed, u) != 0) {
		free(u);
		return NULL;
	}
	u->next = v->under_way;
	if (u->next)
		u->next->prev = u;
	v->under_way = u;
	v->count++;
	return u;
}

enum step verify_ask(struct verify *v, void *asker, const struct verify_ask *ask, struct verify_answer *out)
{
	char key[ROUTE_KEY_CAP];
	struct route route;
	struct verify_entry entry;
	v->figures.asked++;
	if (v->f->is_stopping || route_choose_for_question(&v->f->in.conf, ask->listener, &ask->dst, &route) != 0 ||
	    (route.spec.kind == FORWARD_ORIGINAL && route.original.port != SMTP_PORT))
		return answer_at_once(ask, VERIFY_UNKNOWN, SPAN_NONE, out);
	route_key(&route, key);
	if (verify_cache_find(v->cache, span_of(key), span_of(ask->path), loop_wall_time(), &entry)) {
		v->figures.hits++;
		enum verify_result known = entry.line.len == 0			      ? VERIFY_YES
					   : is_about_us(route.is_for_clients, entry.line) ? VERIFY_UNKNOWN
											   : VERIFY_NO;
		return answer_at_once(ask, known, entry.line, out);
	}
	struct waiting *w = calloc(1, sizeof *w);
	struct under_way *u = w ? find(v, &route, key, ask->path) : NULL;
	if (w && !u)
		u = start(v, &route, key, ask->path);
	if (!u) {
		free(w);
		return answer_at_once(ask, VERIFY_UNKNOWN, SPAN_NONE, out);
	}
	*w = (struct waiting){ u->waiting, asker, ask->id };
	u->waiting = w;
	return STEP_WAIT;
}

void verify_forget(struct verify *v, void *asker)
{
	for (struct under_way *u = v->under_way; u; u = u->next) {
		for (struct waiting **link = &u->waiting; *link;) {
			struct waiting *w = *link;
			if (w->asker != asker) {
				link = &w->next;
				continue;
			}
			*link = w->next;
			free(w);
		}
	}
}

/* ---- life */

void verify_figures(const struct verify *v, struct verify_figures *out)
{
	*out = v->figures;
	out->entries = verify_cache_count(v->cache);
	out->connections = verify_probes_connections(v->probes);
}

size_t verify_flush(struct verify *v, struct span path)
{
	size_t before = verify_cache_count(v->cache);
	if (path.len > 0)
		(void)verify_cache_forget(v->cache, path);
	else
		verify_cache_clear(v->cache);
	note_change(v);
	return before - verify_cache_count(v->cache);
}

bool verify_is_quiet(const struct verify *v)
{
	return !v->writing;
}

int verify_create(struct forwarder *f, verify_answered_fn answered, struct verify **out)
{
	struct verify *v = calloc(1, sizeof *v);
	if (!v)
		return ERR_NOMEM;
	v->f = f;
	v->answered = answered;
	v->write_turn = (struct loop_task){ .fn = write_turn, .ctx = v };
	int err = verify_cache_create(ENTRIES_MAX, &v->cache);
	if (!err)
		err = verify_probes_create(f, &v->probes);
	if (!err)
		err = loop_timer_create(f->loop, write_due, v, &v->write_timer);
	if (err) {
		verify_probes_destroy(&v->probes);
		verify_cache_destroy(&v->cache);
		free(v);
		return err;
	}
	load(v);
	*out = v;
	return 0;
}

void verify_destroy(struct verify **verify)
{
	struct verify *v = *verify;
	struct buf text = { .cap = FILE_CAP };
	if (!v)
		return;
	verify_cache_write_begin(v->cache);
	if (v->is_dirty && verify_cache_write_some(v->cache, loop_wall_time(), ENTRIES_MAX, &text) == STEP_DONE)
		(void)write_file(v->f->in.dirs.root, buf_span(&text));
	buf_free(&text);
	verify_probes_destroy(&v->probes);
	while (v->under_way) {
		struct under_way *u = v->under_way;
		unlink_under_way(u);
		while (u->waiting) {
			struct waiting *w = u->waiting;
			u->waiting = w->next;
			free(w);
		}
		free(u);
	}
	loop_timer_destroy(&v->write_timer);
	verify_cache_destroy(&v->cache);
	free(v);
	*verify = NULL;
}
