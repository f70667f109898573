/* daemon.h - what makes a process a daemon: the pid file, going to the background, syslog at the end of a pipe.
 */
#ifndef POSTERN_DAEMON_H
#define POSTERN_DAEMON_H

#include "err.h"

/* Take the pid file: locked as long as the returned descriptor is open, so a stale file of a dead daemon is no obstacle.
 * ERR_BUSY with the pid of the running one.  The number in the file is this process's; call daemon_pid_file_write after a fork. */
int daemon_pid_file_take(const char *path, int *fd_out, struct reason *why);
int daemon_pid_file_write(int fd, struct reason *why);
void daemon_pid_file_remove(const char *path, int fd);

/* Go to the background in two steps.  daemon_detach forks; the parent waits, the child returns 0 and goes on starting, still with
 * the caller's standard error, so that every complaint of the start is seen.  daemon_detached tells the parent to exit 0; if
 * the child dies before, the parent exits 1. */
int daemon_detach(struct reason *why);
void daemon_detached(void);

/* In a child that becomes a role: descriptors 0 and 1 lead nowhere, a session of its own, so no terminal.  Who waits for the end of our
 * caller's output does not wait for the role, and what is typed there is no business of it. */
void daemon_leave_terminal(void);

/* Start a child that reads priority-form log lines (log.h) from a pipe and hands them to syslog(3), and put the pipe's other end
 * in the place of descriptor 2.  The child is EXE itself with LOGGER_ROLE_ARG in its argv, so daemon_logger_run is its main.
 * Its pid is returned; when it dies, call again with the descriptor that was kept (*pipe_fd, -1 at first): nothing written
 * meanwhile is lost, it waits in the pipe. */
#define LOGGER_ROLE_ARG "--role=logger"
int daemon_logger_start(const char *ident, int *pipe_fd, int *pid_out, struct reason *why);

/* The logger's main: reads standard input until its end.  Drops every right first.  It watches over a child that does the work and starts
 * it again, later each time: the daemon itself may have no right left to do so. */
int daemon_logger_run(const char *ident);

#endif
