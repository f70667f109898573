/* role_session.h - the session worker: a process that speaks with clients and has no right to anything else.
 * Its whole world is the descriptors it is given: listening sockets, segments, one connection to posternfwd, the pipe to the master.
 */
#ifndef POSTERN_ROLE_SESSION_H
#define POSTERN_ROLE_SESSION_H

/* The main of `posternd --role=session`; returns the exit status. */
int role_session_run(void);

#endif
