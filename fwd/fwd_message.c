#include "fwd_message.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

#define ROOM_MIN 256u

const char *fwd_state_name(enum fwd_state state)
{
	static const char *const names[] = { "ready", "active", "settling", "waiting", "held" };
	return names[state];
}

static size_t slot_of(const struct spool_id *id, size_t room)
{
	return (size_t)span_hash_nocase((struct span){ id->text, SPOOL_ID_LEN }) & (room - 1);
}

static int grow(struct fwd_table *table)
{
	size_t room = table->room ? table->room * 2 : ROOM_MIN;
	struct fwd_message **slots = calloc(room, sizeof *slots);
	if (!slots)
		return ERR_NOMEM;
	for (size_t i = 0; i < table->room; i++) {
		for (struct fwd_message *m = table->slots[i], *next; m; m = next) {
			size_t slot = slot_of(&m->id, room);
			next = m->hash_next;
			m->hash_next = slots[slot];
			slots[slot] = m;
		}
	}
	free(table->slots);
	table->slots = slots;
	table->room = room;
	return 0;
}

int fwd_table_add(struct fwd_table *table, const struct spool_id *id, struct fwd_message **out)
{
	if (fwd_table_find(table, id))
		return ERR_BUSY;
	if (table->count >= table->room && grow(table) != 0)
		return ERR_NOMEM;
	struct fwd_message *m = calloc(1, sizeof *m);
	if (!m)
		return ERR_NOMEM;
	m->id = *id;
	struct fwd_message **slot = &table->slots[slot_of(id, table->room)];
	m->hash_next = *slot;
	*slot = m;
	table->count++;
	*out = m;
	return 0;
}

struct fwd_message *fwd_table_find(const struct fwd_table *table, const struct spool_id *id)
{
	if (table->room == 0)
		return NULL;
	struct fwd_message *m = table->slots[slot_of(id, table->room)];
	while (m && !spool_id_eq(&m->id, id))
		m = m->hash_next;
	return m;
}

static void message_free(struct fwd_message *m)
{
	free(m->outcomes);
	free(m);
}

void fwd_table_remove(struct fwd_table *table, struct fwd_message *message)
{
	struct fwd_message **link = &table->slots[slot_of(&message->id, table->room)];
	while (*link != message)
		link = &(*link)->hash_next;
	*link = message->hash_next;
	table->count--;
	message_free(message);
}

void fwd_table_free(struct fwd_table *table)
{
	for (size_t i = 0; i < table->room; i++) {
		for (struct fwd_message *m = table->slots[i], *next; m; m = next) {
			next = m->hash_next;
			message_free(m);
		}
	}
	free(table->slots);
	*table = (struct fwd_table){ NULL, 0, 0 };
}
