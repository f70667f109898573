#include "list_answers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "siphash.h"

#define WAYS 4u
#define SETS (LIST_ANSWERS_ENTRIES / WAYS)

struct entry {
	struct addr client; /* ADDR_NONE: free */
	uint8_t count;
	uint32_t list_id;
	uint32_t until_s;
	uint32_t put; /* the number of the put */
	uint32_t addrs[SYN_LIST_ADDRS_MAX]; /* as they are in struct addr */
};

_Static_assert(sizeof(struct entry) == 64, "as the header says");

/* Entries name a list by a number that is never used again, so that another number forgets them all. */
struct list {
	char *zone;
	uint32_t id;
};

struct list_answers {
	struct siphash_key key;
	struct list *lists;
	uint32_t list_count, last_id, puts;
	struct entry entries[SETS][WAYS];
};

int list_answers_create(struct list_answers **out)
{
	struct list_answers *a = calloc(1, sizeof *a);
	if (!a)
		return ERR_NOMEM;
	if (getrandom(&a->key, sizeof a->key, 0) != (ssize_t)sizeof a->key) {
		free(a);
		return ERR_IO;
	}
	*out = a;
	return 0;
}

static void free_lists(struct list *lists, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(lists[i].zone);
	free(lists);
}

void list_answers_destroy(struct list_answers **answers)
{
	if (!*answers)
		return;
	free_lists((*answers)->lists, (*answers)->list_count);
	free(*answers);
	*answers = NULL;
}

static struct list *find_list(const struct list_answers *a, struct span zone)
{
	for (uint32_t i = 0; i < a->list_count; i++)
		if (span_eq_nocase(span_of(a->lists[i].zone), zone))
			return &a->lists[i];
	return NULL;
}

int list_answers_set_lists(struct list_answers *a, const struct span *zones, uint32_t count)
{
	struct list *lists = calloc(count + 1u, sizeof *lists);
	bool is_whole = lists != NULL;
	for (uint32_t i = 0; is_whole && i < count; i++) {
		const struct list *old = find_list(a, zones[i]);
		lists[i].zone = strndup(zones[i].ptr, zones[i].len);
		lists[i].id = old ? old->id : ++a->last_id;
		is_whole = lists[i].zone != NULL;
	}
	free_lists(a->lists, a->list_count);
	a->lists = is_whole ? lists : NULL;
	a->list_count = is_whole ? count : 0;
	if (!is_whole && lists)
		free_lists(lists, count);
	return is_whole ? 0 : ERR_NOMEM;
}

static size_t set_of(const struct list_answers *a, uint32_t list_id, const struct addr *client)
{
	uint8_t subject[sizeof client->bytes + sizeof list_id];
	memcpy(subject, client->bytes, sizeof client->bytes);
	memcpy(subject + sizeof client->bytes, &list_id, sizeof list_id);
	return siphash(&a->key, subject, sizeof subject) % SETS;
}

static bool is_of(const struct entry *e, uint32_t list_id, const struct addr *client)
{
	return e->list_id == list_id && addr_eq(&e->client, client);
}

/* Its own place, or one that is free or out of date, or the one that was filled first. */
static struct entry *place_for(struct list_answers *a, uint32_t list_id, const struct addr *client, uint64_t now_s)
{
	struct entry *set = a->entries[set_of(a, list_id, client)], *oldest = set;
	uint32_t oldest_age = 0;
	for (uint32_t i = 0; i < WAYS; i++) {
		struct entry *e = &set[i];
		bool is_free = e->client.family == ADDR_NONE || e->until_s <= now_s;
		uint32_t age = is_free ? UINT32_MAX : a->puts - e->put;
		if (is_of(e, list_id, client))
			return e;
		if (age > oldest_age) {
			oldest = e;
			oldest_age = age;
		}
	}
	return oldest;
}

bool list_answers_put(struct list_answers *a, struct span zone, const struct addr *client, const struct syn_list_answer *answer, uint32_t hold_s,
		      uint64_t now_s)
{
	const struct list *list = find_list(a, zone);
	struct entry new = { .client = *client, .count = (uint8_t)answer->count, .until_s = (uint32_t)now_s + hold_s, .put = ++a->puts };
	if (!list || hold_s == 0 || answer->count > SYN_LIST_ADDRS_MAX || (client->family != ADDR_V4 && client->family != ADDR_V6))
		return false;
	new.list_id = list->id;
	for (uint32_t i = 0; i < answer->count; i++) {
		if (answer->addrs[i].family != ADDR_V4)
			return false;
		memcpy(&new.addrs[i], answer->addrs[i].bytes, sizeof new.addrs[i]);
	}
	*place_for(a, list->id, client, now_s) = new;
	return true;
}

bool list_answers_find(const struct list_answers *a, uint32_t list, const struct addr *client, uint64_t now_s, struct syn_list_answer *out)
{
	if (list >= a->list_count)
		return false;
	const uint32_t id = a->lists[list].id;
	const struct entry *set = a->entries[set_of(a, id, client)];
	uint32_t i = 0;
	while (i < WAYS && !is_of(&set[i], id, client))
		i++;
	if (i == WAYS || set[i].until_s <= now_s)
		return false;
	memset(out, 0, sizeof *out);
	out->count = set[i].count;
	for (uint32_t n = 0; n < out->count; n++) {
		out->addrs[n].family = ADDR_V4;
		memcpy(out->addrs[n].bytes, &set[i].addrs[n], sizeof set[i].addrs[n]);
	}
	return true;
}

void list_answers_forget(struct list_answers *a, struct span zone)
{
	struct list *list = find_list(a, zone);
	if (list)
		list->id = ++a->last_id;
}

void list_answers_clear(struct list_answers *a)
{
	for (uint32_t i = 0; i < a->list_count; i++)
		a->lists[i].id = ++a->last_id;
}
