/* list_answers.h - what block lists said of clients, as the session workers tell the gate, for as long as it holds.
 * Promise: an answer is found only under the list and the address that it was put under, not after its time, and not after
 * list_answers_forget for its list.  What a list's answers mean is the rules' business: the answers are kept, not what a rule made of them.
 * Owns: fixed memory, LIST_ANSWERS_ENTRIES of 64 bytes each (4 MiB, touched as they are used), and the names of the lists.
 * Bounds: an address has four places by a keyed hash, shared with others; the answer that came first makes room for a new one.
 * Times are seconds of any clock that does not go back.
 */
#ifndef POSTERN_LIST_ANSWERS_H
#define POSTERN_LIST_ANSWERS_H

#include "rules_syn.h"

#define LIST_ANSWERS_ENTRIES 65536u

struct list_answers;

int list_answers_create(struct list_answers **out); /* ERR_NOMEM, ERR_IO: no random key */
void list_answers_destroy(struct list_answers **answers);

/* These lists from here on, known by their place among them.  What is known of those that were there before stays, the rest is forgotten.
 * ERR_NOMEM: none are known any more. */
int list_answers_set_lists(struct list_answers *answers, const struct span *zones, uint32_t count);

/* For hold_s from now on.  answer: IPv4 addresses.  False: that is none of the lists, or no such answer. */
bool list_answers_put(struct list_answers *answers, struct span zone, const struct addr *client, const struct syn_list_answer *answer, uint32_t hold_s,
		      uint64_t now_s);
bool list_answers_find(const struct list_answers *answers, uint32_t list, const struct addr *client, uint64_t now_s, struct syn_list_answer *out);

/* All that this list said, or all that any did. */
void list_answers_forget(struct list_answers *answers, struct span zone);
void list_answers_clear(struct list_answers *answers);

#endif
