#include "load_average.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"

#define LOOK_MS 2000u

/* From /proc, and not by sysinfo(2): in a container that is the container's own load.  Nothing there waits for a disk. */
static bool read_average(double *out)
{
	char text[64];
	int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		(void)close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *end;
	*out = strtod(text, &end);
	return end != text;
}

bool load_average_is_high(struct load_average *load, uint64_t limit, uint64_t now_ms)
{
	double average;
	if (limit == 0) {
		load->is_high = false;
		return false;
	}
	if (load->looked_ms && now_ms < load->looked_ms + LOOK_MS)
		return load->is_high;
	load->looked_ms = now_ms ? now_ms : 1;
	if (!read_average(&average))
		return load->is_high;
	bool is_high = average >= (double)limit;
	if (is_high != load->is_high)
		log_event(LOG_LEVEL_WARN, "queue-load", "the load average is %.2f, queue-load-average %" PRIu64 ": mail that was tried before %s",
			  average, limit, is_high ? "waits" : "is tried again");
	load->is_high = is_high;
	return is_high;
}
