/* role_checker.h - the checker process: runs the external command for the session workers, as a user of its own in a chroot of its own.
 * It shows the steps of every role: receive, drop, restrict, build, run.  Ends when its master is gone and the last worker has closed its channel.
 */
#ifndef POSTERN_ROLE_CHECKER_H
#define POSTERN_ROLE_CHECKER_H

/* The process's main; returns its exit status. */
int role_checker_run(void);

#endif
