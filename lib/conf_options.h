/* conf_options.h - the table of the options of postern.conf: name, default, unit, range, and where the value goes in struct conf.  Only for conf.c and tests.
 * A new option is a new line there, a field in conf.h, and a paragraph in postern.conf(5).
 */
#ifndef POSTERN_CONF_OPTIONS_H
#define POSTERN_CONF_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define CONF_OPTIONS_MAX 256u

enum conf_kind {
	KIND_TEXT, KIND_HOST, KIND_PATH, KIND_COUNT, KIND_DURATION, KIND_SIZE, KIND_CHOICE, KIND_FORWARD, KIND_SERVERS, KIND_NETS, KIND_COMMAND, KIND_MILTERS
};

struct conf_choice {
	const char *name;
	uint64_t value;
};

struct conf_option {
	const char *name;
	enum conf_kind kind;
	size_t offset;
	size_t cap;          /* KIND_TEXT, KIND_PATH: size of the array */
	const char *preset;  /* the default, as one would write it; NULL: computed */
	uint64_t min, max;   /* KIND_COUNT, KIND_DURATION (seconds), KIND_SIZE (bytes) */
	const struct conf_choice *choices; /* ends with a NULL name */
};

struct conf_option_table {
	const struct conf_option *options;
	size_t count; /* at most CONF_OPTIONS_MAX */
};

extern const struct conf_option_table conf_options;        /* of the file; base: struct conf */
extern const struct conf_option_table conf_listen_options; /* of a listen section; base: struct conf_listen */

/* NULL when there is none. */
const struct conf_option *conf_option_find(const struct conf_option_table *table, const char *name);

/* Check one value; on success write it to its place in base (which may be NULL: only check). */
int conf_option_set(const struct conf_option *opt, const char *text, void *base, struct reason *why);

/* The word for a value of an option that is a choice; "?" for a value that has none. */
const char *conf_option_word(const struct conf_option_table *table, const char *name, uint64_t value);

#endif
