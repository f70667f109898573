#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *tag;
	enum log_form form;
	enum log_level level;
	long pid;
	uint64_t lost;
	uint64_t lost_said;
} state = { .tag = "postern", .form = LOG_FORM_TERMINAL, .level = LOG_LEVEL_INFO };

void log_setup(const char *tag, enum log_form form, enum log_level level)
{
	state.tag = tag;
	state.form = form;
	state.level = level;
	state.pid = (long)getpid();
}

void log_set_level(enum log_level level)
{
	state.level = level;
}

enum log_form log_form(void)
{
	return state.form;
}

enum log_level log_level(void)
{
	return state.level;
}

bool log_enabled(enum log_level level)
{
	return level <= state.level;
}

uint64_t log_lost(void)
{
	return state.lost;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERR: return "err";
	case LOG_LEVEL_WARN: return "warn";
	case LOG_LEVEL_INFO: return "info";
	case LOG_LEVEL_DEBUG: return "debug";
	}
	return "?";
}

static bool write_line(enum log_level level, const char *text, size_t len)
{
	char head[160];
	int n;
	if (state.form == LOG_FORM_PRIORITY) {
		n = snprintf(head, sizeof head, "<%d>%s[%ld]: ", (int)level, state.tag, state.pid);
	} else {
		struct timespec now;
		struct tm local;
		char stamp[32] = "?";
		(void)clock_gettime(CLOCK_REALTIME, &now);
		/* localtime_r has read the zone before the chroot: tzset is called by every role's start. */
		if (localtime_r(&now.tv_sec, &local))
			(void)strftime(stamp, sizeof stamp, "%H:%M:%S", &local);
		n = snprintf(head, sizeof head, "%s.%03ld %s[%ld] %s: ", stamp, now.tv_nsec / 1000000, state.tag, state.pid,
			     level_name(level));
	}
	if (n < 0)
		n = 0;
	if ((size_t)n >= sizeof head)
		n = (int)sizeof head - 1;
	/* One writev of less than PIPE_BUF: lines of several processes never mix. */
	struct iovec parts[3] = {
		{ head, (size_t)n },
		{ (void *)(uintptr_t)text, len },
		{ (void *)(uintptr_t) "\n", 1 },
	};
	ssize_t written;
	do
		written = writev(STDERR_FILENO, parts, 3);
	while (written < 0 && errno == EINTR);
	return written >= 0;
}

void log_kv(enum log_level level, const struct kv *kv)
{
	if (level > state.level)
		return;
	if (state.lost != state.lost_said) {
		struct kv note;
		kv_init(&note);
		kv_text(&note, "ev", "log-lost");
		kv_u64(&note, "lines", state.lost - state.lost_said);
		if (write_line(LOG_LEVEL_WARN, note.text, note.len))
			state.lost_said = state.lost;
	}
	if (!write_line(level, kv->text, kv->len))
		state.lost++;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	if (level > state.level)
		return;
	char text[KV_VALUE_CAP * 2];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", event);
	kv_text(&kv, "msg", text);
	log_kv(level, &kv);
}
