#include "load_average.h"

#include <sys/sysinfo.h>

uint64_t load_average_hundredths(void)
{
	struct sysinfo info;
	if (sysinfo(&info) != 0)
		return 0;
	return (uint64_t)info.loads[0] * 100 / (1u << SI_LOAD_SHIFT);
}
