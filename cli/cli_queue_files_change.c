#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_queue_files_parts.h"
#include "conf.h"
#include "daemon.h"

struct change {
	const char *verb;
	struct cli_queue_counts *counts;
};

/* Each step is one that a crash may end at: what posternfwd then finds is the message before or after it. */
static int apply(const struct walk *walk, const char *verb, const struct spool_found *found)
{
	const struct spool_queue_item *item = found->item;
	const struct spool_id *id = &item->id;
	bool is_delete = strcmp(verb, "delete") == 0, is_hold = strcmp(verb, "hold") == 0, is_release = strcmp(verb, "release") == 0;
	struct spool_status status = { .time = walk->now, .attempt = item->attempts };
	if (is_delete) {
		status.has_recipient = true;
		status.recipient = SPOOL_ACK_ALL;
		status.outcome = SPOOL_OUTCOME_DELETED;
	} else {
		status.note = is_hold ? SPAN_LIT("held") : is_release ? SPAN_LIT("released") : SPAN_LIT("retry");
		status.next_time = is_hold ? 0 : walk->now;
	}
	if (!is_delete && is_release != (found->place == SPOOL_IN_HOLD))
		return ERR_INVAL;
	int err = spool_queue_append(&walk->dirs, found->place, id, &status, 1);
	if (err)
		return err;
	if (is_delete)
		return spool_queue_remove(&walk->dirs, found->place, id, spool_record_is_large(&item->record));
	if (is_hold || is_release)
		return spool_queue_move(&walk->dirs, found->place, is_hold ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE, id);
	return 0;
}

static int visit(struct walk *walk, const struct spool_found *found)
{
	struct change *change = walk->ctx;
	struct cli_queue_counts *counts = change->counts;
	counts->matched++;
	if (found->segment && strcmp(change->verb, "retry") == 0)
		counts->done++; /* it is tried as soon as posternfwd starts */
	else if (found->segment)
		counts->in_journal++;
	else if (apply(walk, change->verb, found) == 0)
		counts->done++;
	else
		counts->failed++;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct spool_id));
}

/* Sorted, each once. */
static struct spool_id *parse_ids(size_t *count, char **words)
{
	struct spool_id *ids = malloc(*count * sizeof *ids);
	size_t kept = 0;
	for (size_t i = 0; ids && i < *count; i++)
		(void)spool_id_parse(span_of(words[i]), &ids[i]);
	if (!ids)
		return NULL;
	qsort(ids, *count, sizeof *ids, compare_ids);
	for (size_t i = 0; i < *count; i++) {
		if (kept == 0 || !spool_id_eq(&ids[kept - 1], &ids[i]))
			ids[kept++] = ids[i];
	}
	*count = kept;
	return ids;
}

/* So that posternfwd does not start meanwhile.  A lock file that we had to make belongs to whoever owns queue/. */
static int take_lock(const char *spool, int *fd_out, struct reason *why)
{
	char path[CONF_PATH_CAP + 32];
	struct stat st, lock;
	(void)snprintf(path, sizeof path, "%s/queue", spool);
	if (lstat(path, &st) != 0)
		return reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	(void)snprintf(path, sizeof path, "%s/%s", spool, SPOOL_FWD_LOCK);
	int err = daemon_pid_file_take(path, fd_out, why);
	if (err)
		return err;
	/* Never a file that has another name elsewhere: the owner of the spool may have made that. */
	if (fstat(*fd_out, &lock) == 0 && lock.st_nlink == 1 && lock.st_uid != st.st_uid)
		(void)!fchown(*fd_out, st.st_uid, st.st_gid);
	return 0;
}

int cli_queue_files_change(const char *spool, const char *verb, const struct queue_filter *filter, size_t id_count, char **ids,
			   struct cli_queue_counts *out, struct reason *why)
{
	struct change change = { verb, out };
	struct walk walk = { .visit = visit, .filter = filter, .hold_first = strcmp(verb, "hold") == 0, .why = why, .ctx = &change };
	int lock_fd;
	memset(out, 0, sizeof *out);
	struct spool_id *wanted = filter ? NULL : parse_ids(&id_count, ids);
	if (!filter && !wanted)
		return ERR_NOMEM;
	walk.wanted = wanted;
	walk.wanted_count = id_count;
	int err = take_lock(spool, &lock_fd, why);
	if (!err) {
		err = cli_queue_files_walk(&walk, spool);
		(void)close(lock_fd);
	}
	/* Who names a message wants to hear that there is none. */
	if (!err && wanted)
		out->failed += id_count - out->matched;
	free(wanted);
	return err;
}
