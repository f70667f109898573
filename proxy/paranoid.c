#include "paranoid.h"

#include <string.h>

/* strchr() finds the NUL at the end of any set. */
static bool is_one_of(const char *set, char c)
{
	return c != '\0' && strchr(set, c);
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

const char *paranoid_helo(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!is_word(name.ptr[i]) && !is_one_of("-._[]:", name.ptr[i]))
			return "suspicious characters in HELO";
	return NULL;
}

const char *paranoid_path(const struct smtp_path *path)
{
	for (size_t i = 0; i < path->path.len; i++) {
		char c = path->path.ptr[i];
		if (c <= ' ' || c > '~' || is_one_of("|&;<>()`$\\\"!%", c))
			return "suspicious characters in an address";
	}
	if (path->local.len && is_one_of("-/:", path->local.ptr[0]))
		return "an address that begins like an option or a file";
	return NULL;
}

static void end_line(struct paranoid_header *h)
{
	h->is_over = h->line_len == 0 || h->is_dot;
	h->line_len = 0;
	h->is_dot = false;
}

void paranoid_header_push(struct paranoid_header *h, struct span wire)
{
	for (size_t i = 0; i < wire.len && !h->is_over && !h->found; i++) {
		char c = wire.ptr[i];
		if (c == '\n') {
			end_line(h);
		} else if (c != '\r') {
			h->is_dot = h->line_len == 0 && c == '.';
			if ((c < ' ' && c != '\t') || c > '~')
				h->found = "suspicious characters in the header";
			else if (++h->line_len > PARANOID_LINE_CAP)
				h->found = "a line of the header is too long";
		}
	}
}
