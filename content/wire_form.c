#include "wire_form.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"

#define PIECE_BYTES 65536u

enum { LINE_START, DOT, DOT_CR, TEXT, TEXT_CR, END };

void wire_form_init(struct wire_form *form)
{
	*form = (struct wire_form){ .state = LINE_START };
}

/* A dot in front of a line that is more than a dot is a stuffed one only if another dot follows. */
static unsigned next_state(unsigned state, char c, bool *is_broken)
{
	switch (state) {
	case TEXT_CR:
	case DOT_CR:
		*is_broken = c != '\n';
		return state == DOT_CR ? END : LINE_START;
	case DOT:
		if (c == '\r')
			return DOT_CR;
		*is_broken = c != '.';
		return TEXT;
	case END:
		*is_broken = true;
		return END;
	default:
		*is_broken = c == '\n' || c == '\0';
		return c == '\r' ? TEXT_CR : c == '.' && state == LINE_START ? DOT : TEXT;
	}
}

void wire_form_push(struct wire_form *form, struct span wire)
{
	for (size_t i = 0; i < wire.len && !form->is_broken; i++)
		form->state = next_state(form->state, wire.ptr[i], &form->is_broken);
}

bool wire_form_is_whole(const struct wire_form *form)
{
	return !form->is_broken && form->state == END;
}

int wire_form_check_file(int fd, uint64_t len)
{
	struct wire_form form;
	struct stat st;
	char piece[PIECE_BYTES];
	uint64_t at = 0;
	wire_form_init(&form);
	if (fstat(fd, &st) != 0)
		return err_from_errno(errno);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != len)
		return ERR_CORRUPT;
	while (at < len) {
		ssize_t n = pread(fd, piece, sizeof piece, (off_t)at);
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_CORRUPT;
		wire_form_push(&form, (struct span){ piece, (size_t)n });
		at += (uint64_t)n;
	}
	return wire_form_is_whole(&form) ? 0 : ERR_CORRUPT;
}
