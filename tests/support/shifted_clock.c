/* A wall clock that a test sets, for processes that load this by LD_PRELOAD. The file SHIFTED_CLOCK holds two int64_t in
 * milliseconds: what is added to the wall clock, and to the clock that counts suspension. With SHIFTED_WALL_ONLY the
 * latter is left alone: Mosquitto would take all its clients for gone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shifts;
static int wall_only;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_shifts(void)
{
	real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int file = open(getenv("SHIFTED_CLOCK"), O_RDONLY | O_CLOEXEC);
	void *map = file < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
	if (map == MAP_FAILED) {
		abort();
	}
	wall_only = getenv("SHIFTED_WALL_ONLY") != NULL;
	shifts = map;
	close(file);
}

int clock_gettime(clockid_t id, struct timespec *at)
{
	if (!real_gettime) {
		real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	}
	int rc = real_gettime(id, at);
	if (rc == 0 && shifts && (id == CLOCK_REALTIME || (id == CLOCK_BOOTTIME && !wall_only))) {
		int64_t ms = (int64_t)at->tv_sec * 1000 + at->tv_nsec / 1000000 + shifts[id == CLOCK_BOOTTIME];
		at->tv_sec = ms / 1000;
		at->tv_nsec = ms % 1000 * 1000000 + at->tv_nsec % 1000000;
	}
	return rc;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;
	int rc = clock_gettime(CLOCK_REALTIME, &now);
	(void)zone;
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return rc;
}

time_t time(time_t *at)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (at) {
		*at = now.tv_sec;
	}
	return now.tv_sec;
}
