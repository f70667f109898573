#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "supervisor.h"

/* How a line gets to descriptor 2 without waiting. */
enum way {
	WAY_WRITE,  /* it never waits: a file, or not blocking */
	WAY_POLL,   /* it may wait and log_unblock_prepriv could not change that: ask first */
	WAY_SOCKET, /* each call says that it will not wait */
};

static struct {
	const char *tag;
	enum log_form form;
	enum log_level level;
	long pid;
	uint64_t lost;
	uint64_t lost_said;
	enum way way;
	bool is_cut; /* the last line went out in part: the next begins with a line end */
} state = { .tag = "postern", .form = LOG_FORM_TERMINAL, .level = LOG_LEVEL_INFO };

static enum way find_way(void)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) != 0 || S_ISREG(st.st_mode))
		return WAY_WRITE;
	if (S_ISSOCK(st.st_mode))
		return WAY_SOCKET;
	return fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK ? WAY_WRITE : WAY_POLL;
}

void log_unblock_prepriv(void)
{
	if (find_way() != WAY_POLL)
		return;
	/* A terminal or a pipe opened anew is a description of our own: O_NONBLOCK there changes nothing for those we share the old one with. */
	int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)dup2(fd, STDERR_FILENO);
	(void)close(fd);
	state.way = find_way();
}

void log_setup(const char *tag, enum log_form form, enum log_level level)
{
	state.way = find_way();
	state.tag = tag;
	state.form = form;
	state.level = level;
	state.pid = (long)getpid();
}

void log_set_level(enum log_level level)
{
	state.level = level;
}

enum log_form log_form_of_stderr(void)
{
	return supervisor_has_stderr() ? LOG_FORM_JOURNAL : LOG_FORM_TERMINAL;
}

const char *log_complaint_prefix(void)
{
	return supervisor_has_stderr() ? "<3>" : "";
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

/* One call for the whole line; below PIPE_BUF the lines of several processes never mix. */
static ssize_t write_parts(struct iovec *parts, size_t count)
{
	struct pollfd room = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t n;
	if (state.way == WAY_SOCKET) {
		struct msghdr msg = { .msg_iov = parts, .msg_iovlen = count };
		do
			n = sendmsg(STDERR_FILENO, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (n < 0 && errno == EINTR);
		return n;
	}
	if (state.way == WAY_POLL && (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)))
		return -1;
	do
		n = writev(STDERR_FILENO, parts, (int)count);
	while (n < 0 && errno == EINTR);
	return n;
}

struct head {
	char text[160];
	size_t len;
};

static void put(struct head *head, struct span part)
{
	size_t len = part.len < sizeof head->text - head->len ? part.len : sizeof head->text - head->len;
	memcpy(head->text + head->len, part.ptr, len);
	head->len += len;
}

static void put_u64(struct head *head, uint64_t value, unsigned least_digits)
{
	char digits[SPAN_DIGITS_CAP];
	struct span number = span_of_u64(value, 10, digits);
	for (size_t missing = number.len; missing < least_digits; missing++)
		put(head, SPAN_LIT("0"));
	put(head, number);
}

/* By hand: for each line there is one, and printf takes its time. */
static void make_head(enum log_level level, struct head *head)
{
	head->len = 0;
	if (state.form != LOG_FORM_TERMINAL) {
		put(head, SPAN_LIT("<"));
		put_u64(head, level, 1);
		put(head, SPAN_LIT(">"));
		if (state.form == LOG_FORM_JOURNAL)
			return;
	} else {
		static _Thread_local char stamp[32] = "?";
		static _Thread_local time_t stamped;
		struct timespec now;
		struct tm local;
		(void)clock_gettime(CLOCK_REALTIME, &now);
		/* Once a second.  localtime_r has read the zone before the chroot: tzset is called by every role's start. */
		if (now.tv_sec != stamped && localtime_r(&now.tv_sec, &local)) {
			(void)strftime(stamp, sizeof stamp, "%H:%M:%S", &local);
			stamped = now.tv_sec;
		}
		put(head, span_of(stamp));
		put(head, SPAN_LIT("."));
		put_u64(head, (uint64_t)now.tv_nsec / 1000000, 3);
		put(head, SPAN_LIT(" "));
	}
	put(head, span_of(state.tag));
	put(head, SPAN_LIT("["));
	put_u64(head, (uint64_t)state.pid, 1);
	put(head, SPAN_LIT("]"));
	if (state.form == LOG_FORM_TERMINAL) {
		put(head, SPAN_LIT(" "));
		put(head, span_of(level_name(level)));
	}
	put(head, SPAN_LIT(": "));
}

static bool write_line(enum log_level level, const char *text, size_t len)
{
	struct head head;
	make_head(level, &head);
	struct iovec parts[4] = {
		{ (void *)(uintptr_t) "\n", state.is_cut ? 1 : 0 },
		{ head.text, head.len },
		{ (void *)(uintptr_t)text, len },
		{ (void *)(uintptr_t) "\n", 1 },
	};
	size_t size = parts[0].iov_len + head.len + len + 1;
	ssize_t written = write_parts(parts, 4);
	if (written > 0)
		state.is_cut = (size_t)written < size;
	return written >= 0 && (size_t)written == size;
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
