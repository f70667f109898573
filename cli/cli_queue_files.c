#include "cli_queue_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli_queue_files_parts.h"
#include "smtp_dot.h"

#define CHUNK 32768u
#define TO_CAP 240u /* as posternfwd has it */

/* ---- what is said about a message */

static const char *state_of(const struct spool_found *found)
{
	return found->segment ? "stored" : found->place == SPOOL_IN_HOLD ? "held" : "waiting";
}

static bool is_to_do(enum spool_outcome outcome)
{
	return outcome == SPOOL_OUTCOME_NONE || outcome == SPOOL_OUTCOME_DEFERRED;
}

static int64_t accepted_time(const struct spool_found *found)
{
	return found->envelope->time ? found->envelope->time : (int64_t)(spool_id_time_ms(&found->record->id) / 1000);
}

static const char *destination_of(const struct spool_found *found, char text[ENDPOINT_TEXT_CAP])
{
	const struct endpoint *dst = &found->envelope->dst;
	return dst->addr.family == ADDR_NONE ? "" : endpoint_format(dst, text);
}

static bool takes(const struct walk *walk, const struct spool_found *found)
{
	char destination[ENDPOINT_TEXT_CAP];
	const struct queue_filter *filter = walk->filter;
	if (!filter)
		return true;
	int64_t accepted = accepted_time(found);
	struct queue_filter_facts facts = { .age_s = walk->now > accepted ? walk->now - accepted : 0,
					    .size_bytes = found->record->body_len,
					    .state = span_of(state_of(found)),
					    .destination = span_of(destination_of(found, destination)) };
	if (!queue_filter_takes(filter, &facts) ||
	    !queue_filter_takes_envelope(filter, found->envelope, found->item ? found->item->last_text : SPAN_NONE))
		return false;
	for (size_t i = 0; i < found->envelope->recipient_count; i++) {
		if (is_to_do(found->outcomes[i]) && queue_filter_takes_recipient(filter, found->envelope->recipients[i].path))
			return true;
	}
	return false;
}

static uint64_t count_to_do(const struct spool_found *found)
{
	uint64_t count = 0;
	for (size_t i = 0; i < found->envelope->recipient_count; i++)
		count += is_to_do(found->outcomes[i]);
	return count;
}

static void put_path(struct kv *kv, const char *key, struct span path)
{
	kv_printf(kv, key, "<%.*s>", SPAN_FMT(path));
}

static void put_recipients(struct kv *kv, const struct spool_found *found)
{
	struct buf list = { .cap = KV_VALUE_CAP };
	for (size_t i = 0; i < found->envelope->recipient_count; i++) {
		struct span path = found->envelope->recipients[i].path;
		if (!is_to_do(found->outcomes[i]))
			continue;
		path.len = path.len < TO_CAP ? path.len : TO_CAP;
		if ((list.len > 0 && list.len + path.len + 3 > TO_CAP) || buf_printf(&list, "%s<%.*s>", list.len ? " " : "", SPAN_FMT(path)) != 0)
			break;
	}
	kv_span(kv, "to", buf_span(&list));
	buf_free(&list);
}

/* The keys of posternfwd's own listing. */
static void put_summary(struct kv *kv, const struct walk *walk, const struct spool_found *found)
{
	const struct spool_queue_item *item = found->item;
	int64_t accepted = accepted_time(found);
	char destination[ENDPOINT_TEXT_CAP];
	kv_text(kv, "id", found->record->id.text);
	put_path(kv, "from", found->envelope->from);
	put_recipients(kv, found);
	kv_u64(kv, "rcpts", count_to_do(found));
	kv_u64(kv, "size", found->record->body_len);
	kv_i64(kv, "age_s", walk->now > accepted ? walk->now - accepted : 0);
	kv_text(kv, "state", state_of(found));
	kv_u64(kv, "attempts", item ? item->attempts : 0);
	kv_i64(kv, "next_s", item && item->next_time > walk->now ? item->next_time - walk->now : 0);
	kv_text(kv, "destination", destination_of(found, destination));
	kv_addr(kv, "client", &found->envelope->client.addr);
	bool is_quarantined = found->envelope->hold.len && strcmp(state_of(found), "held") == 0;
	kv_span(kv, "error", is_quarantined ? found->envelope->hold : item ? item->last_text : SPAN_NONE);
}

static int visit_list(struct walk *walk, const struct spool_found *found)
{
	struct kv kv;
	kv_init(&kv);
	put_summary(&kv, walk, found);
	walk->answer->line(walk->answer->ctx, (struct span){ kv.text, kv.len });
	return 0;
}

static void show_recipient(const struct walk *walk, const struct spool_found *found, size_t i)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "what", "recipient");
	put_path(&kv, "rcpt", found->envelope->recipients[i].path);
	kv_text(&kv, "state", is_to_do(found->outcomes[i]) ? "waiting" : spool_outcome_name(found->outcomes[i]));
	kv_span(&kv, "text", found->item ? found->item->recipients[i].text : SPAN_NONE);
	walk->answer->line(walk->answer->ctx, (struct span){ kv.text, kv.len });
}

static int visit_show(struct walk *walk, const struct spool_found *found)
{
	const struct spool_envelope *e = found->envelope;
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "what", "message");
	put_summary(&kv, walk, found);
	kv_i64(&kv, "time", e->time);
	kv_endpoint(&kv, "dst", &e->dst);
	kv_span(&kv, "iface", e->iface);
	kv_span(&kv, "listener", e->listener);
	kv_span(&kv, "client_name", e->client_name);
	kv_span(&kv, "helo", e->helo);
	kv_span(&kv, "proto", e->proto);
	kv_text(&kv, "trust", e->is_trusted ? "trusted" : "untrusted");
	kv_text(&kv, "body", spool_record_is_large(found->record) ? "large" : "inline");
	walk->answer->line(walk->answer->ctx, (struct span){ kv.text, kv.len });
	for (size_t i = 0; i < e->recipient_count; i++)
		show_recipient(walk, found, i);
	return FOUND;
}

static int send_body(const struct walk *walk, const struct spool_body_source *body)
{
	struct smtp_undot undot;
	struct buf native = { 0 };
	char chunk[CHUNK];
	int err = 0;
	smtp_undot_init(&undot);
	for (uint64_t at = 0; at < body->len && !err;) {
		size_t want = body->len - at < sizeof chunk ? (size_t)(body->len - at) : sizeof chunk;
		ssize_t n = pread(body->fd, chunk, want, (off_t)(body->offset + at));
		if (n <= 0)
			return reason_set(walk->why, ERR_IO, "the message cannot be read: %s", n < 0 ? strerror(errno) : "the file is too short");
		at += (uint64_t)n;
		err = smtp_undot_push(&undot, (struct span){ chunk, (size_t)n }, &native);
		if (!err && native.len)
			walk->answer->bytes(walk->answer->ctx, buf_span(&native));
		buf_clear(&native);
	}
	buf_free(&native);
	return err ? reason_set(walk->why, err, "no memory") : 0;
}

static int visit_cat(struct walk *walk, const struct spool_found *found)
{
	struct spool_body_source body;
	int err = spool_body_open(&walk->dirs, found->segment_fd, found->record, &body);
	if (err)
		return reason_set(walk->why, err, "the message's body is missing or cut (%s)", err_name(err));
	err = send_body(walk, &body);
	spool_body_close(&body);
	return err ? err : FOUND;
}

/* ---- the walk */

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, SPOOL_ID_LEN);
}

static bool is_wanted(const struct walk *walk, const struct spool_id *id)
{
	return !walk->wanted || bsearch(id, walk->wanted, walk->wanted_count, sizeof *id, compare_ids);
}

static int take(struct walk *walk, const struct spool_found *found)
{
	if (!is_wanted(walk, &found->record->id) || !takes(walk, found))
		return 0;
	return walk->visit(walk, found);
}

static int on_record(void *ctx, const struct spool_found *found)
{
	struct walk *walk = ctx;
	return spool_queue_has(&walk->dirs, &found->record->id) ? 0 : take(walk, found);
}

static void on_broken(void *ctx, const struct spool_broken *broken)
{
	struct walk *walk = ctx;
	/* What a living writer is writing at this moment looks torn, or damaged. */
	if (!broken->is_void && !walk->is_live)
		walk->damaged++;
}

static int walk_segment(struct walk *walk, const char *name)
{
	const struct spool_recovery_events events = { .message = on_record, .broken = on_broken, .ctx = walk };
	struct spool_ack_set acks;
	uint64_t size;
	bool is_sealed;
	int fd;
	int err = spool_segment_open(&walk->dirs, name, &fd, &size, &is_sealed);
	if (err)
		return err == ERR_NOTFOUND ? 0 : err;
	walk->is_live = !is_sealed;
	err = spool_ack_load(&walk->dirs, name, &acks);
	if (!err) {
		err = spool_segment_scan(fd, name, 0, size, SPOOL_READ_OPEN_END, &acks, &events, NULL, NULL);
		spool_ack_set_free(&acks);
	}
	(void)close(fd);
	return err;
}

static int is_segment(const struct dirent *entry)
{
	return spool_segment_name_parse(span_of(entry->d_name), NULL, NULL, NULL) == 0;
}

static int walk_journal(struct walk *walk)
{
	struct dirent **names = NULL;
	int count = scandirat(walk->dirs.journal, ".", &names, is_segment, alphasort);
	int err = count < 0 ? err_from_errno(errno) : 0;
	for (int i = 0; i < count; i++) {
		if (!err)
			err = walk_segment(walk, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return err;
}

static int found_waiting(struct walk *walk, enum spool_place place, const struct spool_queue_item *item, int fd, struct arena *arena)
{
	enum spool_outcome *outcomes = arena_alloc(arena, item->envelope.recipient_count * sizeof *outcomes);
	if (!outcomes)
		return ERR_NOMEM;
	for (size_t i = 0; i < item->envelope.recipient_count; i++)
		outcomes[i] = item->recipients[i].outcome;
	const struct spool_found found = { .segment_fd = fd, .place = place, .record = &item->record, .envelope = &item->envelope,
					   .outcomes = outcomes, .item = item };
	return take(walk, &found);
}

struct place_walk {
	struct walk *walk;
	enum spool_place place;
};

static int on_waiting(void *ctx, const struct spool_id *id)
{
	const struct place_walk *at = ctx;
	struct arena arena = { NULL, 0 };
	struct spool_queue_item item;
	int fd;
	if (!is_wanted(at->walk, id))
		return 0;
	int err = spool_queue_load(&at->walk->dirs, at->place, id, 0, &arena, &item, &fd);
	if (err == 0) {
		err = item.pending ? found_waiting(at->walk, at->place, &item, fd, &arena) : 0;
		(void)close(fd);
	} else if (err == ERR_CORRUPT) {
		at->walk->damaged++;
		err = 0;
	} else if (err == ERR_NOTFOUND) {
		err = 0; /* gone meanwhile */
	}
	arena_free(&arena);
	return err;
}

static int walk_place(struct walk *walk, enum spool_place place)
{
	struct place_walk at = { walk, place };
	return spool_queue_each(&walk->dirs, place, on_waiting, &at);
}

int cli_queue_files_walk(struct walk *walk, const char *spool)
{
	walk->dirs = SPOOL_DIRS_CLOSED;
	walk->now = time(NULL);
	walk->why->text[0] = '\0';
	int err = spool_dirs_open(spool, &walk->dirs, walk->why);
	if (!err)
		err = walk_place(walk, walk->hold_first ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE);
	if (!err)
		err = walk_place(walk, walk->hold_first ? SPOOL_IN_QUEUE : SPOOL_IN_HOLD);
	if (!err)
		err = walk_journal(walk);
	spool_dirs_close(&walk->dirs);
	if (err < 0 && !walk->why->text[0])
		reason_set(walk->why, err, "%s: the spool cannot be read (%s)", spool, err_name(err));
	return err;
}

static int find_one(const char *spool, const struct spool_id *id, visit_fn visit, const struct control_answer *answer, struct reason *why)
{
	struct walk walk = { .answer = answer, .visit = visit, .wanted = id, .wanted_count = 1, .why = why };
	int err = cli_queue_files_walk(&walk, spool);
	return err == FOUND ? 0 : err ? err : reason_set(why, ERR_NOTFOUND, "no message %s is waiting", id->text);
}

int cli_queue_files_list(const char *spool, const struct queue_filter *filter, const struct control_answer *answer, size_t *damaged_out,
			 struct reason *why)
{
	struct walk walk = { .answer = answer, .visit = visit_list, .filter = filter, .why = why };
	int err = cli_queue_files_walk(&walk, spool);
	*damaged_out = walk.damaged;
	return err;
}

int cli_queue_files_show(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why)
{
	return find_one(spool, id, visit_show, answer, why);
}

int cli_queue_files_cat(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why)
{
	return find_one(spool, id, visit_cat, answer, why);
}
