/* rules_access.h - what an access table decides about one recipient.
 * The client (by its address; by its confirmed name when the address has no entry), the sender and the recipient are looked up.  The
 * first of them that is refused decides; else one that is allowed; else the table says nothing and the next rule is asked.
 */
#ifndef POSTERN_RULES_ACCESS_H
#define POSTERN_RULES_ACCESS_H

#include "access.h"
#include "rules_pattern.h"
#include "tri.h"

/* TRI_TRUE: *out decides.  TRI_FALSE: no entry.  TRI_UNKNOWN (m->why says which fact) or TRI_PENDING: the client's name could decide and
 * is not known (yet); with m->collect it is asked for. */
enum tri access_judge(const struct access_table *table, struct match *m, struct span from, struct span to, const struct access_value **out);

/* May it ever ask for the client's name? */
static inline bool access_needs_name(const struct access_table *table)
{
	return table->names_allow || table->names_refuse;
}

#endif
