/* Nice values, scheduling policies, affinity and the like of each thread, as the program set them. */
#include "victim.h"
#include <linux/ioprio.h>
static cpu_set_t all;
static void *thread(void *p)
{
	cpu_set_t want, got;
	long n = (long)p;
	int first = 0;
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&want);
	CPU_SET(first, &want);
	if (n == 0)
		want = all;
	MUST(sched_setaffinity(0, sizeof want, &want));
	MUST(setpriority(PRIO_PROCESS, 0, 3 + n));
	int policy = n == 1 ? SCHED_BATCH : n == 2 ? SCHED_IDLE : SCHED_OTHER;
	MUST(sched_setscheduler(0, policy, &(struct sched_param){0}));
	static const int ios[] = {0, 2 << 13 | 1, 2 << 13 | 6, 3 << 13};
	int io = ios[n];
	MUST(syscall(SYS_ioprio_set, 1, 0, io));
	do {
		struct sched_param sp;
		SAME(getpriority(PRIO_PROCESS, 0), 3 + n);
		SAME(getpriority(PRIO_PROCESS, gettid()), 3 + n);
		SAME(sched_getscheduler(0), policy);
		MUST(sched_getparam(0, &sp));
		SAME(sp.sched_priority, 0);
		CPU_ZERO(&got);
		MUST(sched_getaffinity(0, sizeof got, &got));
		EXPECT(CPU_EQUAL(&got, &want));
		SAME(syscall(SYS_ioprio_get, 1, 0), io);
		wait_ms(1);
		for (volatile int i = 0; i < 10000; i++)
			;
	} while (going());
	return NULL;
}
int main(void)
{
	MUST(sched_getaffinity(0, sizeof all, &all));
	threads(4, thread);
	return held("priorities");
}
