/* spool_keeper.h - the master's hands in the spool: makes segments and large-body files for workers that may open nothing.
 * Creating a file syncs its directory, so it is done by loop jobs; each answer names the worker and generation that asked, and a
 * worker that died meanwhile is a normal miss.
 * Every request is answered, also with an error, some before the asking function returns.  Limits: for each worker one segment and 64 large
 * bodies under way; what is asked for beyond that is refused (ERR_NOSPACE).
 * Owns: the directory descriptors.
 */
#ifndef POSTERN_SPOOL_KEEPER_H
#define POSTERN_SPOOL_KEEPER_H

#include <stdint.h>

#include "loop.h"
#include "message_id.h"
#include "priv.h"
#include "role_messages.h"
#include "spool_segment.h"
#include "spool_dir.h"

struct spool_keeper;

struct spool_keeper_asker {
	uint32_t worker, generation;
};

struct spool_keeper_events {
	/* The descriptor is the receiver's; -1 when err is set. */
	void (*segment)(void *ctx, const struct spool_keeper_asker *asker, const struct role_segment *what, int fd);
	void (*large)(void *ctx, const struct spool_keeper_asker *asker, const struct role_large *what, int fd);
	void *ctx;
};

/* Prepare and open the spool; make one segment in advance for each worker, so that a spool that can't be written to stops the start and
 * not the first message.  Before the loop: blocks. */
int spool_keeper_open(const char *path, const struct priv_user *owner, size_t workers, struct spool_keeper **out, struct reason *why);

/* Segments that are asked for from here on are filled with zeros up to segment_bytes (spool_segment_prepare), where that leaves more than
 * min_free_bytes of the disk.  Not said: segments are empty, as those made in advance always are: they must not hold up the start. */
void spool_keeper_prepare(struct spool_keeper *keeper, uint64_t segment_bytes, uint64_t min_free_bytes);

/* From here on requests work. */
void spool_keeper_start(struct spool_keeper *keeper, struct loop *loop, const struct spool_keeper_events *events);

void spool_keeper_need_segment(struct spool_keeper *keeper, const struct spool_keeper_asker *asker);
void spool_keeper_need_large(struct spool_keeper *keeper, const struct spool_keeper_asker *asker, const struct spool_id *id);

/* Of the spool directory itself, where the master's own files are; the keeper's. */
int spool_keeper_root_fd(const struct spool_keeper *keeper);

/* The descriptor stays the keeper's: for space checks. */
int spool_keeper_fd(const struct spool_keeper *keeper);

/* After the loop has ended. */
void spool_keeper_destroy(struct spool_keeper **keeper);

#endif
