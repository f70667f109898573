/* log.h - one event, one line, fixed keys, to standard error.
 * Every process of ours writes to its file descriptor 2 and nowhere else, so a role without any right can still log.  In the
 * foreground that is the terminal or the journal; a detached master puts a pipe there whose other end speaks syslog (proxy/logger).
 * Levels mean: err = operator now, warn = operator later, info = audit, debug = us.
 * Never blocks: a line that can't be written is dropped and counted; the next line that fits says how many were lost.
 * (A regular file counts as a disk that answers.  Where descriptor 2 can't be made ours, see below, two processes that write in the same
 * moment to a pipe that nobody reads may still be caught.)
 */
#ifndef POSTERN_LOG_H
#define POSTERN_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "kv.h"

enum log_level { LOG_LEVEL_ERR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 }; /* the numbers of syslog */

/* How a line begins.  TERMINAL: local time, tag and pid; PRIORITY: "<N>", tag and pid, as our logger reads it; JOURNAL: "<N>" as
 * sd-daemon(3) has it and nothing else, as the journal keeps time, program and pid of each line itself. */
enum log_form { LOG_FORM_TERMINAL, LOG_FORM_PRIORITY, LOG_FORM_JOURNAL };

/* For a process in the foreground: JOURNAL or TERMINAL. */
enum log_form log_form_of_stderr(void);

/* What a complaint of the start, which is plain words and no log line, begins with: "<3>" for the journal, "" for a terminal. */
const char *log_complaint_prefix(void);

/* tag: "posternd[session 0]" or the like; kept as a pointer.  Lines above level are dropped.  Again after a fork.  Before this call: terminal form, info. */
void log_setup(const char *tag, enum log_form form, enum log_level level);

/* Make descriptor 2 one that does not block, without changing what the caller shares with us.  Once, as root, before the first child:
 * they inherit it. */
void log_unblock_prepriv(void);

void log_set_level(enum log_level level);
enum log_form log_form(void);
enum log_level log_level(void);
bool log_enabled(enum log_level level);

void log_kv(enum log_level level, const struct kv *kv);

/* `ev=EVENT msg="..."`; for lines that need no further keys.  The text is escaped, so peer text in it is harmless. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Lines lost since the start of the process. */
uint64_t log_lost(void);

#endif
