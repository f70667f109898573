#include "ident.h"

static bool is_port(struct span text, uint16_t port)
{
	uint64_t value;
	return span_to_u64(span_trim(text), UINT16_MAX, &value) == 0 && value == port;
}

static bool is_user_name(struct span user)
{
	if (user.len == 0 || user.len > IDENT_USER_CAP)
		return false;
	for (size_t i = 0; i < user.len; i++)
		if (user.ptr[i] < ' ' || user.ptr[i] > '~')
			return false;
	return true;
}

/* `6193, 23 : USERID : UNIX : name`; the name may hold colons, and only blanks in front of it are skipped (ours goes without those
 * behind it, too: a pattern could not be written for them). */
enum ident_result ident_answer_parse(struct span line, uint16_t client_port, uint16_t our_port, struct span *user_out)
{
	struct span ports, kind, system, client;
	if (!span_cut(&line, ':', &ports) || !span_cut(&line, ':', &kind) || !span_cut(&line, ':', &system) || !line.ptr)
		return IDENT_NOBODY;
	if (!span_cut(&ports, ',', &client) || !is_port(client, client_port) || !is_port(ports, our_port))
		return IDENT_NOBODY;
	struct span user = span_trim(line);
	if (!span_eq_nocase(span_trim(kind), SPAN_LIT("USERID")) || !is_user_name(user))
		return IDENT_NOBODY;
	*user_out = user;
	return IDENT_USER;
}
