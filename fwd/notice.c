#include "notice.h"

#include <stddef.h>
#include <string.h>

static enum step introduce(struct notice_peer *peer, struct span payload)
{
	if (peer->is_known || payload.len != sizeof peer->worker)
		return STEP_FAIL;
	memcpy(&peer->worker, payload.ptr, sizeof peer->worker);
	peer->is_known = true;
	return STEP_WAIT;
}

/* Looked at as a byte: another value in a bool would be undefined. */
static bool is_bool(struct span payload, size_t at)
{
	return (unsigned char)payload.ptr[at] <= 1;
}

static enum step take(const struct notice_peer *peer, struct span payload, struct spool_committed *out)
{
	struct spool_committed what;
	struct spool_segment_name name;
	unsigned worker;
	if (!peer->is_known || payload.len != sizeof what || !is_bool(payload, offsetof(struct spool_committed, is_sealed)) ||
	    !is_bool(payload, offsetof(struct spool_committed, is_void)))
		return STEP_FAIL;
	memcpy(&what, payload.ptr, sizeof what);
	size_t len = strnlen(what.segment.text, sizeof what.segment.text);
	if (spool_segment_name_parse((struct span){ what.segment.text, len }, &name, NULL, &worker) != 0 || worker != peer->worker)
		return STEP_FAIL;
	what.segment = name;
	*out = what;
	return STEP_DONE;
}

enum step notice_check(struct notice_peer *peer, uint32_t type, struct span payload, size_t fd_count, struct spool_committed *out)
{
	if (fd_count > 0)
		return STEP_FAIL;
	switch (type) {
	case NOTICE_WORKER: return introduce(peer, payload);
	case NOTICE_COMMITTED: return take(peer, payload, out);
	default: return STEP_FAIL;
	}
}
