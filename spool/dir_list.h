/* dir_list.h - the names in a directory, sorted.  Only for spool/.
 */
#ifndef POSTERN_DIR_LIST_H
#define POSTERN_DIR_LIST_H

#include <stddef.h>

struct dir_list {
	char **names;
	size_t count, room;
};

/* All names but . and .. ; ERR_IO, ERR_NOMEM. */
int dir_list_read(int dirfd, struct dir_list *out);
void dir_list_free(struct dir_list *list);

#endif
