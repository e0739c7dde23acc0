/* What of accounts, peaks, timers and limits goes on through execve, and what begins anew. */
#include "victim.h"
static int hits;
static void hit(int s) { (void)s; hits++; }
static long status(const char *key)
{
	static char text[8192];
	int fd = MUST(open("/proc/self/status", O_RDONLY));
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	char *p = strstr(text, key);
	return p ? strtol(p + strlen(key), NULL, 10) : -1;
}
int main(int argc, char **argv)
{
	struct rusage r;
	struct itimerval it = {{0, 0}, {70, 0}}, got;
	struct itimerspec ts = {{0, 0}, {70, 0}};
	struct rlimit lim = {50 << 20, RLIM_INFINITY};
	timer_t t, u;
	if (argc > 1) {
		int id = atoi(argv[1]);
		getrusage(RUSAGE_SELF, &r);
		TRUE(r.ru_maxrss >= 48 << 10 && r.ru_utime.tv_sec * 1000000 + r.ru_utime.tv_usec + r.ru_stime.tv_usec >= 90000);
		TRUE(status("\nVmHWM:\t") < 20 << 10 && status("\nVmPeak:\t") < 20 << 10 && status("\nVmLck:\t") == 0);
		struct timespec c;
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
		TRUE(c.tv_sec > 0 || c.tv_nsec >= 90000000);
		getitimer(ITIMER_PROF, &got);
		TRUE(got.it_value.tv_sec >= 60);
		getitimer(ITIMER_REAL, &got);
		TRUE(got.it_value.tv_sec >= 60);
		SHOW(timer_delete((timer_t)(long)id));
		SHOW(timer_delete((timer_t)(long)atoi(argv[2])));
		getrlimit(RLIMIT_DATA, &lim);
		SHOW(lim.rlim_cur);
		TRUE(mmap(NULL, 100 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
		SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &t));
		SHOW(timer_delete(t));
		return 0;
	}
	char *p = mmap(NULL, 48 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 1, 48 << 20);
	burn(100);
	signal(SIGALRM, hit);
	DID(mlockall(MCL_FUTURE) == 0 || errno == ENOMEM || errno == EPERM);
	SHOW(setitimer(ITIMER_PROF, &it, NULL));
	SHOW(setitimer(ITIMER_REAL, &it, NULL));
	SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &t));
	SHOW(timer_settime(t, 0, &ts, NULL));
	SHOW(timer_create(CLOCK_MONOTONIC, NULL, &u));
	munmap(p, 48 << 20);
	SHOW(setrlimit(RLIMIT_DATA, &lim));
	char a[20], b[20];
	snprintf(a, sizeof a, "%ld", (long)t), snprintf(b, sizeof b, "%ld", (long)u);
	execl("/proc/self/exe", argv[0], a, b, NULL);
	return 1;
}
