/* Processor time is told where it was used: across execve, of killed and of waited-for children, by every call that tells it.
 * oracle: serial
 * oracle: nodes */
#include "victim.h"
#include <sys/times.h>
static double sum(struct timeval a, struct timeval b) { return a.tv_sec + b.tv_sec + (a.tv_usec + b.tv_usec) / 1e6; }
static double self(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return sum(r.ru_utime, r.ru_stime);
}
static double children(void)
{
	struct rusage r;
	getrusage(RUSAGE_CHILDREN, &r);
	return sum(r.ru_utime, r.ru_stime);
}
static double stat_time(const char *name, int first)
{
	char b[2048] = "", *p;
	int fd = MUST(open(name, O_RDONLY));
	read(fd, b, sizeof b - 1);
	close(fd);
	p = strrchr(b, ')') + 1;
	for (int i = 3; i < first; i++)
		p = strchr(p + 1, ' ');
	long u = strtol(p, &p, 10);
	return (u + strtol(p, NULL, 10)) / 100.0;
}
static int forever(void *p) { (void)p; for (;;) burn(1000); }
static int to_term(void *p) { (void)p; burn(120); kill(getpid(), SIGTERM); pause(); return 0; }
static void *thread(void *p)
{
	char name[64];
	burn(100);
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", gettid());
	*(double *)p = stat_time(name, 14);
	return NULL;
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		double t = self();
		TRUE(t >= 0.11 && t < 0.5);
		t = stat_time("/proc/self/stat", 14);
		TRUE(t >= 0.09 && t < 0.5);
		return 0;
	}
	pid_t p = MUST(fork());
	if (p == 0) {
		burn(120);
		execl("/proc/self/exe", argv[0], "again", NULL);
		_exit(1);
	}
	struct rusage r;
	int st;
	MUST(wait4(p, &st, 0, &r));
	show_status("exec", st);
	double t = sum(r.ru_utime, r.ru_stime);
	TRUE(t >= 0.11 && t < 0.6);
	TRUE(children() >= 0.11 && children() < 0.6);

	/* killed while it computes: what it had used is known all the same */
	p = spawn(forever, NULL);
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/stat", p);
	while (stat_time(name, 14) < 0.2)
		wait_ms(10);
	kill(p, SIGKILL);
	MUST(wait4(p, &st, 0, &r));
	show_status("killed", st);
	TRUE(sum(r.ru_utime, r.ru_stime) >= 0.19);
	p = spawn(to_term, NULL);
	MUST(wait4(p, &st, 0, &r));
	show_status("terminated", st);
	TRUE(sum(r.ru_utime, r.ru_stime) >= 0.11);
	t = children();
	TRUE(t >= 0.41);
	struct tms tm;
	MUST(times(&tm));
	TRUE((tm.tms_cutime + tm.tms_cstime) / 100.0 >= t - 0.05 && (tm.tms_cutime + tm.tms_cstime) / 100.0 <= t + 0.05);
	t = stat_time("/proc/self/stat", 16);
	TRUE(t >= children() - 0.05 && t <= children() + 0.05);

	/* oneself: all tell the same */
	burn(150);
	double thread_time = 0;
	pthread_t th;
	pthread_create(&th, NULL, thread, &thread_time);
	pthread_join(th, NULL);
	TRUE(thread_time >= 0.08 && thread_time < 0.2);
	struct timespec c;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
	double clock = c.tv_sec + c.tv_nsec / 1e9;
	TRUE(self() >= clock - 0.02 && self() <= clock + 0.06);
	MUST(times(&tm));
	TRUE((tm.tms_utime + tm.tms_stime) / 100.0 >= clock - 0.04 && (tm.tms_utime + tm.tms_stime) / 100.0 <= clock + 0.06);
	t = stat_time("/proc/self/stat", 14);
	TRUE(t >= clock - 0.04 && t <= clock + 0.06);
	int back = 0;
	struct rusage last = {0};
	for (int i = 0; i < 300; i++) {
		getrusage(RUSAGE_SELF, &r);
		back += timercmp(&r.ru_utime, &last.ru_utime, <) || timercmp(&r.ru_stime, &last.ru_stime, <);
		last = r;
	}
	SHOW(back);
	return 0;
}
