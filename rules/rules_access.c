#include "rules_access.h"

#include <stdio.h>

static bool refuses(const struct access_value *value)
{
	return value && value->kind == ACCESS_REFUSE;
}

/* Could an entry for the client's name still change what the sender's and the recipient's say?  A refusal could, because it comes
 * first, unless it is the same; a permission only where nothing else is said. */
static bool name_matters(const struct access_table *table, const struct access_value *others)
{
	bool is_refused_alike = refuses(others) && table->refuses_alike &&
				span_eq(others->message.template, table->values[table->name_refusal].message.template);
	return (table->names_refuse && !is_refused_alike) || (table->names_allow && !others);
}

static enum tri find_name(struct match *m, struct span *name_out)
{
	const struct fact_key key = { .kind = FACT_NAME };
	const struct fact *name = m->collect ? facts_want(m->facts, &key) : facts_find(m->facts, &key);
	*name_out = SPAN_NONE;
	if (name && name->state == FACT_FAILED) {
		(void)snprintf(m->why, sizeof m->why, "name: %.*s", SPAN_FMT(span_sub(name->why, 0, 120)));
		return TRI_UNKNOWN;
	}
	if (!name && m->collect) {
		(void)snprintf(m->why, sizeof m->why, "name: too many facts");
		return TRI_UNKNOWN;
	}
	if (!name || name->state == FACT_NOT_ASKED || name->state == FACT_PENDING)
		return TRI_PENDING;
	if (name->state == FACT_PRESENT)
		*name_out = name->value.text;
	return TRI_TRUE;
}

enum tri access_judge(const struct access_table *table, struct match *m, struct span from, struct span to, const struct access_value **out)
{
	struct span name;
	const struct access_value *client = access_of_client(table, &m->facts->client.addr);
	match_begin(m, from);
	const struct access_value *sender = access_of_address(table, ACCESS_FROM, m->whole);
	match_begin(m, to);
	const struct access_value *recipient = access_of_address(table, ACCESS_TO, m->whole);
	const struct access_value *others = refuses(sender) ? sender : refuses(recipient) ? recipient : sender ? sender : recipient;
	if (!client && name_matters(table, others)) {
		enum tri known = find_name(m, &name);
		if (known != TRI_TRUE)
			return known;
		client = access_of_name(table, name);
	}
	*out = refuses(client) || !others ? client : refuses(others) ? others : client ? client : others;
	return tri_of(*out != NULL);
}
