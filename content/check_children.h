/* check_children.h - processes that a command has started and that got away: they have left its process group or its session, and their parents are dead.
 * They come to the checker (PR_SET_CHILD_SUBREAPER), and the kernel's list of its children names them.
 */
#ifndef POSTERN_CHECK_CHILDREN_H
#define POSTERN_CHECK_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

/* From here on orphans below this process come to it.  Returns the list of this thread's children, which works in a chroot and after a change of users; -1:
 * this kernel has none. */
int check_children_open_prepriv(void);

/* Kill each child of this thread that is no command and in no command's session.  is_command: of those that still run.  Nothing with -1. */
void check_children_kill_strays(int children_fd, bool (*is_command)(void *ctx, pid_t pid), void *ctx);

#endif
