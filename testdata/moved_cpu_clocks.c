/* Processor time never goes back, nor does it grow faster than threads can use it: clocks of process and thread, getrusage, times.
 * oracle: nodes
 * oracle: serial */
#include "victim.h"
#include <sys/times.h>
static double secs(clockid_t c)
{
	struct timespec t;
	MUST(clock_gettime(c, &t));
	return t.tv_sec + t.tv_nsec / 1e9;
}
static double usage(int who)
{
	struct rusage r;
	MUST(getrusage(who, &r));
	return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static double ticks(int who)
{
	struct tms t;
	times(&t);
	return (t.tms_utime + t.tms_stime) / 100.0;
}
static double (*const all[])(int) = {(double (*)(int))secs, (double (*)(int))secs, usage, usage, ticks};
static const int which[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, RUSAGE_SELF, RUSAGE_THREAD, 0};
static void *thread(void *p)
{
	double begin[5], last[5], start = now();
	(void)p;
	for (int k = 0; k < 5; k++)
		begin[k] = last[k] = all[k](which[k]);
	do {
		for (volatile long i = 0; i < 300000; i++)
			;
		for (int k = 0; k < 5; k++) {
			double t = all[k](which[k]);
			SAME(t >= last[k] ? 0 : (long)((t - last[k]) * 1e6) * 10 - k, 0); /* us and clock */
			EXPECT(t - begin[k] <= (now() - start) * (k == 1 || k == 3 ? 1 : 4) + 0.05);
			last[k] = t;
		}
	} while (going() || last[0] <= begin[0] || last[1] <= begin[1] || last[2] <= begin[2] || last[3] <= begin[3]);
	EXPECT(last[0] >= last[1] && last[2] >= last[3] - 0.02);
	return NULL;
}
int main(void)
{
	threads(3, thread);
	return held("processor time");
}
