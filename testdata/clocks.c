/* Clocks never go back, agree with each other and with the kernel's, across system calls and processes; CPU clocks count work.
 * oracle: nodes */
#include "victim.h"
#include <sys/times.h>
static double at(int c) { struct timespec t; MUST(clock_gettime(c, &t)); return t.tv_sec + t.tv_nsec / 1e9; }
static double at_kernel(int c) { struct timespec t; MUST(syscall(SYS_clock_gettime, c, &t)); return t.tv_sec + t.tv_nsec / 1e9; }
int main(void)
{
	int cs[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_TAI};
	for (int i = 0; i < 7; i++) {
		int back = 0;
		double last = 0;
		for (int k = 0; k < 20000; k++) {
			double t = k % 100 ? at(cs[i]) : at_kernel(cs[i]);
			back += t < last;
			last = t;
			if (k % 1000 == 0)
				getppid();
		}
		printf("clock %d went back %d times\n", cs[i], back);
	}
	double *shared = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double a = at(CLOCK_MONOTONIC);
	pid_t p = MUST(fork());
	if (p == 0) {
		*shared = at(CLOCK_MONOTONIC);
		_exit(0);
	}
	waitpid(p, NULL, 0);
	TRUE(a <= *shared && *shared <= at(CLOCK_MONOTONIC));
	/* what home's kernel stamps fits what the clock here says */
	struct stat st;
	double before = at(CLOCK_REALTIME_COARSE) - 0.02;
	MUST(close(MUST(open("stamped", O_CREAT | O_WRONLY, 0600))));
	MUST(stat("stamped", &st));
	double stamp = st.st_mtim.tv_sec + st.st_mtim.tv_nsec / 1e9;
	TRUE(before <= stamp && stamp <= at(CLOCK_REALTIME) + 0.02);
	unlink("stamped");
	double up;
	FILE *f = fopen("/proc/uptime", "r");
	TRUE(fscanf(f, "%lf", &up) == 1 && up > at(CLOCK_BOOTTIME) - 1 && up < at(CLOCK_BOOTTIME) + 1);
	struct timeval tv;
	gettimeofday(&tv, NULL);
	TRUE(at(CLOCK_REALTIME) - (tv.tv_sec + tv.tv_usec / 1e6) < 0.5 && labs(time(NULL) - tv.tv_sec) <= 1);
	double c0 = at(CLOCK_PROCESS_CPUTIME_ID);
	burn(50);
	double c1 = at(CLOCK_PROCESS_CPUTIME_ID);
	TRUE(c1 - c0 >= 0.049 && c1 - c0 < 0.2);
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	double ru = r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
	TRUE(ru > c1 - 0.03 && ru < at(CLOCK_PROCESS_CPUTIME_ID) + 0.03);
	struct tms tm;
	TRUE(times(&tm) > 0 && tm.tms_utime + tm.tms_stime >= 4);
	struct timespec res;
	SHOW(clock_getres(CLOCK_MONOTONIC, &res));
	printf("resolution %ld\n", res.tv_nsec);
	SHOW(clock_gettime(99, &res));
	SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8));
	clockid_t of;
	SHOW(clock_getcpuclockid(0, &of));
	TRUE(at(of) > 0);
	SHOW(pthread_getcpuclockid(pthread_self(), &of));
	TRUE(at(of) > 0);
	return 0;
}
