/* cidr_list.h - a short list of networks, as an option of postern.conf names them.
 * Owns no memory and holds no pointer: it can be sent to a role as bytes.
 */
#ifndef POSTERN_CIDR_LIST_H
#define POSTERN_CIDR_LIST_H

#include <stdbool.h>

#include "addr.h"
#include "err.h"

#define CIDR_LIST_MAX 16
#define CIDR_LIST_TEXT_CAP (CIDR_LIST_MAX * (ADDR_TEXT_CAP + 6)) /* with its NUL */

struct cidr_list {
	uint8_t count;
	struct cidr nets[CIDR_LIST_MAX];
};

/* "192.0.2.1 10.0.0.0/8 2001:db8::/32 [2001:db8::1]", separated by spaces, tabs or commas; host bits are ignored; no word is an empty list.
 * ERR_SYNTAX with a reason; ERR_TOOLONG: more than CIDR_LIST_MAX. */
int cidr_list_parse(struct span text, struct cidr_list *out, struct reason *why);

bool cidr_list_has(const struct cidr_list *list, const struct addr *addr);

/* As cidr_list_parse reads it; always terminated.  Returns text. */
const char *cidr_list_format(const struct cidr_list *list, char text[CIDR_LIST_TEXT_CAP]);

#endif
