/* Processor time: of children by wait4 and RUSAGE_CHILDREN and times, of this process, of this thread; peak memory; page faults.
 * oracle: nodes */
#include "victim.h"
#include <sys/times.h>
static double cpu(struct rusage *r) { return r->ru_utime.tv_sec + r->ru_stime.tv_sec + (r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6; }
static int burns(void *p) { burn((long)p); return 0; }
static int eats(void *p)
{
	volatile char *m = malloc((long)p);
	for (long i = 0; i < (long)p; i += 512)
		m[i] = 1;
	return 0;
}
static int grandchild(void *p) { int st; waitpid(spawn(burns, p), &st, 0); return 0; }
static void *thread(void *p)
{
	struct rusage r;
	(void)p;
	burn(60);
	getrusage(RUSAGE_THREAD, &r);
	printf("thread: %d\n", cpu(&r) >= 0.05 && cpu(&r) < 0.3);
	return NULL;
}
int main(void)
{
	struct rusage r;
	int st;
	MUST(wait4(spawn(burns, (void *)120), &st, 0, &r));
	TRUE(cpu(&r) >= 0.11 && cpu(&r) < 0.6);
	getrusage(RUSAGE_CHILDREN, &r);
	TRUE(cpu(&r) >= 0.11 && cpu(&r) < 0.6);
	getrusage(RUSAGE_SELF, &r);
	TRUE(cpu(&r) < 0.1);
	MUST(wait4(spawn(grandchild, (void *)100), &st, 0, &r));
	TRUE(cpu(&r) >= 0.09);
	struct tms t;
	times(&t);
	TRUE(t.tms_cutime + t.tms_cstime >= 20 && t.tms_cutime > t.tms_cstime);
	MUST(wait4(spawn(eats, (void *)(64L << 20)), &st, 0, &r));
	TRUE(r.ru_maxrss >= 64 << 10 && r.ru_maxrss < 100 << 10);
	TRUE(r.ru_minflt >= 100);
	siginfo_t si;
	pid_t p = spawn(burns, (void *)80);
	memset(&r, 0, sizeof r);
	MUST(syscall(SYS_waitid, P_PID, p, &si, WEXITED, &r));
	TRUE(cpu(&r) >= 0.07);
	burn(100);
	getrusage(RUSAGE_SELF, &r);
	TRUE(cpu(&r) >= 0.09 && r.ru_maxrss > 500);
	pthread_t th;
	pthread_create(&th, NULL, thread, NULL);
	pthread_join(th, NULL);
	SHOW(getrusage(99, &r));
	SHOW(syscall(SYS_getrusage, RUSAGE_SELF, 8));
	return 0;
}
