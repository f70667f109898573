/* gate_sets.h - the gate's sets: what is in the kernel is known here, and put back there when the kernel has lost it.
 * What was kept is loaded at the start; what the kernel has besides is learned from it: by its news, and where it tells of none (addresses
 * that a rule of its own adds) by reading the set again each minute.  Thousands of elements go there a turn of the loop, so the heart beats on.
 * When somebody has flushed the whole table, with `nft flush ruleset`, it is put back as it was: sets, chains, rules.  Not so when its chains had been
 * removed first, which is how postern-divert down does it, and never a table of others.
 * Owns: its netlink sockets, until destroy.  Borrows: the loop.
 */
#ifndef POSTERN_GATE_SETS_H
#define POSTERN_GATE_SETS_H

#include "gate_messages.h"
#include "heartbeat.h"
#include "loop.h"

struct gate_sets;

int gate_sets_create_prepriv(struct gate_sets **out, struct reason *why);

/* What sets_file.h kept; what makes no sense in it is passed over.  Reads all of it, at once. */
void gate_sets_load(struct gate_sets *sets, int fd);

/* kept_changed: what is in the sets is worth keeping now (something was deleted). */
int gate_sets_start(struct gate_sets *sets, struct loop *loop, loop_fn kept_changed, void *ctx);

/* Each second: the switches of the interfaces, which last dead_after_ms and are renewed when half of it is over, and what else is due. */
void gate_sets_beat(struct gate_sets *sets, const struct heartbeat_iface *ifaces, size_t count, uint64_t dead_after_ms);

/* An element with an expiry; one that is there gets the new one.  ERR_UNSUPPORTED: no such set in the kernel, ERR_BUSY: it overlaps with another. */
int gate_sets_add(struct gate_sets *sets, enum kernel_set set, const struct kernel_element *element, struct reason *why);
int gate_sets_delete(struct gate_sets *sets, enum kernel_set set, const struct kernel_element *element, struct reason *why);

/* Is the element in the set, as far as is known here?  For whoever judges addresses. */
bool gate_sets_has(const struct gate_sets *sets, enum kernel_set set, const struct addr *address);

/* Reads again what rules of the kernel's own have added, in front of a text that is to be kept. */
void gate_sets_learn(struct gate_sets *sets);

/* A memory file with all of it: as text to be kept, or as the lines of `postern set list` (wanted: bits of the sets).  -1: no memory. */
int gate_sets_text(const struct gate_sets *sets);
int gate_sets_listing(const struct gate_sets *sets, unsigned wanted);

/* backend, elements, put_back; and of each interface its switch. */
void gate_sets_status(const struct gate_sets *sets, struct gate_status *out);
void gate_sets_switch(const struct gate_sets *sets, const char *iface, struct gate_switch *out);

void gate_sets_destroy(struct gate_sets **sets);

#endif
