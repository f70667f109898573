/* load_average.h - how busy the host is.  By sysinfo(2), which needs no file: it works in an empty chroot and under the workers' filter.
 */
#ifndef POSTERN_LOAD_AVERAGE_H
#define POSTERN_LOAD_AVERAGE_H

#include <stdint.h>

/* The load average of the last minute, in hundredths; 0 when the kernel does not say. */
uint64_t load_average_hundredths(void);

#endif
