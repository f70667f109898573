#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "span.h"

static const char *const point_names[SPOOL_FAULT_COUNT] = {
#define X(id, name) [SPOOL_FAULT_##id] = name,
	SPOOL_FAULTS(X)
#undef X
};

enum action { ACTION_KILL, ACTION_EIO, ACTION_ENOSPC, ACTION_SKIP, ACTION_DELAY };
#define SKIPPED (-1) /* no errno value */

enum spool_fault_point spool_fault_armed = SPOOL_FAULT_COUNT;
static enum action armed_action;
static uint64_t armed_delay_ms;
static atomic_long hits_to_skip; /* jobs strike from several threads */

const char *spool_fault_name(enum spool_fault_point point)
{
	return (unsigned)point < SPOOL_FAULT_COUNT ? point_names[point] : "none";
}

static int action_parse(struct span text, enum action *out, uint64_t *delay_ms_out)
{
	static const struct span delay = { "delay=", 6 }, late_kill = { "kill=", 5 };
	*delay_ms_out = 0;
	if (span_eq(text, SPAN_LIT("kill")))
		*out = ACTION_KILL;
	else if (span_starts_nocase(text, late_kill)) {
		*out = ACTION_KILL;
		return span_to_u64(span_sub(text, late_kill.len, text.len), 60000, delay_ms_out);
	}
	else if (span_eq(text, SPAN_LIT("eio")))
		*out = ACTION_EIO;
	else if (span_eq(text, SPAN_LIT("enospc")))
		*out = ACTION_ENOSPC;
	else if (span_eq(text, SPAN_LIT("skip")))
		*out = ACTION_SKIP;
	else if (span_starts_nocase(text, delay)) {
		*out = ACTION_DELAY;
		return span_to_u64(span_sub(text, delay.len, text.len), 60000, delay_ms_out);
	} else
		return ERR_SYNTAX;
	return 0;
}

/* The points of spool_fault_sync: elsewhere nobody would know what to leave out. */
static bool is_sync(enum spool_fault_point point)
{
	switch (point) {
	case SPOOL_FAULT_JOURNAL_SYNC:
	case SPOOL_FAULT_LARGE_SYNC:
	case SPOOL_FAULT_PREPARE_SYNC:
	case SPOOL_FAULT_DIR_SYNC:
	case SPOOL_FAULT_ACK_SYNC:
	case SPOOL_FAULT_QUEUE_SYNC:
	case SPOOL_FAULT_BAD_SYNC: return true;
	default: return false;
	}
}

int spool_fault_arm(const char *spec)
{
	spool_fault_armed = SPOOL_FAULT_COUNT;
	if (!spec)
		return 0;
	struct span rest = span_of(spec), name, action;
	if (!span_cut(&rest, ':', &name) || !span_cut(&rest, '@', &action))
		return ERR_SYNTAX;
	uint64_t from = 1;
	if (rest.ptr && (span_to_u64(rest, 1000000000, &from) != 0 || from == 0))
		return ERR_SYNTAX;
	if (action_parse(action, &armed_action, &armed_delay_ms) != 0)
		return ERR_SYNTAX;
	for (int point = 0; point < SPOOL_FAULT_COUNT; point++) {
		if (span_eq(name, span_of(point_names[point]))) {
			if (armed_action == ACTION_SKIP && !is_sync((enum spool_fault_point)point))
				return ERR_SYNTAX;
			atomic_store(&hits_to_skip, (long)from - 1);
			spool_fault_armed = (enum spool_fault_point)point;
			return 0;
		}
	}
	return ERR_SYNTAX;
}

int spool_fault_prepriv(void)
{
	return spool_fault_arm(getenv("POSTERN_FAULT"));
}

int spool_fault_strike(void)
{
	if (atomic_fetch_sub(&hits_to_skip, 1) > 0)
		return 0;
	struct timespec pause = { (time_t)(armed_delay_ms / 1000), (long)(armed_delay_ms % 1000) * 1000000 };
	nanosleep(&pause, NULL);
	switch (armed_action) {
	case ACTION_KILL:
		kill(getpid(), SIGKILL);
		/* A session worker's filter of system calls knows no kill. */
		_exit(SPOOL_FAULT_EXIT);
	case ACTION_EIO: return EIO;
	case ACTION_ENOSPC: return ENOSPC;
	case ACTION_SKIP: return SKIPPED;
	case ACTION_DELAY: break;
	}
	return 0;
}

int spool_fault_sync(enum spool_fault_point point, int fd)
{
	int errnum = spool_fault(point);
	if (errnum)
		return errnum == SKIPPED ? 0 : errnum;
	return fdatasync(fd) == 0 ? 0 : errno;
}

int spool_fault_sync_dir(int dirfd)
{
	int errnum = spool_fault(SPOOL_FAULT_DIR_SYNC);
	if (errnum)
		return errnum == SKIPPED ? 0 : errnum;
	return fsync(dirfd) == 0 ? 0 : errno;
}
