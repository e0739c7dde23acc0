/* Clocks never go back, for no thread and from no thread to another, and never jump. */
#include "victim.h"
static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
static volatile long seen[4]; /* the latest time that any thread or child has read */
static long ns(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}
static void *thread(void *p)
{
	int k = (long)p % 4, c = clocks[k];
	long last = ns(c), raw = 0;
	while (going())
		for (int i = 0; i < 20000; i++) {
			long shared = seen[k], t = ns(c), r;
			EXPECT(t >= last && t >= shared);
			EXPECT(t - last < (long)(SLACK * 1e9));
			while ((r = seen[k]) < t && !__sync_bool_compare_and_swap(&seen[k], r, t))
				;
			if (c == CLOCK_MONOTONIC && i % 100 == 0) { /* by the system call, too */
				struct timespec s;
				syscall(SYS_clock_gettime, c, &s);
				raw = s.tv_sec * 1000000000L + s.tv_nsec;
				EXPECT(raw >= t);
				EXPECT(ns(c) >= raw);
			}
			last = t;
		}
	return NULL;
}
static void *others(void *p)
{
	(void)p;
	while (going()) {
		long a = ns(CLOCK_MONOTONIC), b = ns(CLOCK_BOOTTIME), c = ns(CLOCK_MONOTONIC);
		static long least = 1L << 62, most = -(1L << 62); /* between the two clocks there is a fixed distance, to a millisecond */
		if (b - a < most - 1000000 || b - c > least + 1000000)
			SAME(b - a, least);
		if (b - a < least)
			least = b - a;
		if (b - c > most)
			most = b - c;
		struct timeval tv;
		gettimeofday(&tv, NULL);
		long real = ns(CLOCK_REALTIME);
		EXPECT(labs(real - (tv.tv_sec * 1000000000L + tv.tv_usec * 1000)) < (long)(SLACK * 1e9));
		EXPECT(labs(time(NULL) - tv.tv_sec) <= (long)SLACK);
	}
	return NULL;
}
static void *run(void *p) { return (long)p < 8 ? thread(p) : others(p); }
int main(void)
{
	threads(9, run);
	return held("clocks");
}
