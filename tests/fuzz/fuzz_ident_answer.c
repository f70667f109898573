/* Ident answers: a user name that comes out is short, printable and part of the answer. */
#include "ident.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct span line = { (const char *)bytes, size }, user;
	if (ident_answer_parse(line, 1, 25, &user) != IDENT_USER)
		return 0;
	if (user.len == 0 || user.len > IDENT_USER_CAP || user.ptr < line.ptr || user.ptr + user.len > line.ptr + line.len)
		abort();
	for (size_t i = 0; i < user.len; i++)
		if (user.ptr[i] < ' ' || user.ptr[i] > '~')
			abort();
	return 0;
}
