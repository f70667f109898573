/* role_exec.h - in a child of the master that was just forked: become a role, that is this executable run anew (/proc/self/exe).
 */
#ifndef POSTERN_ROLE_EXEC_H
#define POSTERN_ROLE_EXEC_H

/* control_fd becomes ROLE_CONTROL_FD; every other descriptor but 0 to 2 is close-on-exec.  title: what ps shows.  Does not return. */
void role_exec(int control_fd, const char *title, const char *role_arg) __attribute__((noreturn));

#endif
