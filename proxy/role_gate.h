/* role_gate.h - the gate: the one process that speaks with the kernel's packet filter.  It renews the dead-man switch and fills the sets.
 * It reads no byte of a client's; it holds CAP_NET_ADMIN, netlink sockets and the pipe to the master, and nothing else.  It ends when the
 * master does, and then the kernel does what the administrator chose (`fail`).
 */
#ifndef POSTERN_ROLE_GATE_H
#define POSTERN_ROLE_GATE_H

/* The main of `posternd --role=gate`; returns the exit status. */
int role_gate_run(void);

#endif
