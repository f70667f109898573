/* slow_sync.c - each fsync and fdatasync of the process it is loaded into (LD_PRELOAD) takes SLOW_SYNC_MS milliseconds longer, 5 when not
 * said: the peers' share of what POSTERN_FAULT=journal-sync:delay=MS does to postern, whose workers get no LD_PRELOAD. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void take_longer(void)
{
	const char *said = getenv("SLOW_SYNC_MS");
	long ms = said ? strtol(said, NULL, 10) : 5;
	struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
	(void)nanosleep(&pause, NULL);
}

int fsync(int fd)
{
	take_longer();
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	take_longer();
	return (int)syscall(SYS_fdatasync, fd);
}
