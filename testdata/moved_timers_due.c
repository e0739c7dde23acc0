/* Timers that are set once go off once, not before their time, to the one who is to get it: alarm, setitimer, timer_create, timerfd, relative and
 * absolute. */
#include "victim.h"
#include <sys/timerfd.h>
static double at(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
static volatile double went[65];
static volatile int times[65];
static void hit(int s, siginfo_t *i, void *c) { (void)i, (void)c; went[s] = now(), times[s]++; }
static void *waits(void *p)
{
	int absolute = (long)p & 1;
	clockid_t c = (long)p & 2 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	int fd = MUST(timerfd_create(c, 0));
	do {
		struct itimerspec t = {{0, 0}, {0, 200000000}};
		double begin = now(), real = at(c);
		if (absolute) {
			t.it_value.tv_nsec += (real - (long)real) * 1e9, t.it_value.tv_sec = (long)real;
			if (t.it_value.tv_nsec >= 1000000000)
				t.it_value.tv_nsec -= 1000000000, t.it_value.tv_sec++;
		}
		MUST(timerfd_settime(fd, absolute ? TFD_TIMER_ABSTIME : 0, &t, NULL));
		uint64_t n;
		SAME(read(fd, &n, 8), 8);
		SAME(n, 1);
		double took = at(c) - real;
		EXPECT(took >= 0.19999);
		EXPECT(now() - begin < 0.2 + SLACK);
	} while (going());
	return NULL;
}
static void *signals(void *p)
{
	(void)p;
	handle(SIGALRM, hit, SA_RESTART);
	for (int s = 0; s < 3; s++)
		handle(SIGRTMIN + s, hit, SA_RESTART);
	timer_t t[3];
	for (int k = 0; k < 3; k++) {
		struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + k};
		MUST(timer_create(k == 1 ? CLOCK_BOOTTIME : CLOCK_MONOTONIC, &ev, &t[k]));
	}
	do {
		for (int s = 0; s < 65; s++)
			went[s] = times[s] = 0;
		double begin = now();
		struct itimerval once = {{0, 0}, {0, 150000}};
		MUST(setitimer(ITIMER_REAL, &once, NULL));
		for (int k = 0; k < 3; k++) {
			struct itimerspec v = {{0, 0}, {0, 100000000 + k * 50000000}};
			MUST(timer_settime(t[k], 0, &v, NULL));
		}
		while (now() - begin < SLACK && times[SIGALRM] + times[SIGRTMIN] + times[SIGRTMIN + 1] + times[SIGRTMIN + 2] < 4)
			wait_ms(20);
		SAME(times[SIGALRM], 1);
		EXPECT(went[SIGALRM] - begin >= 0.1499);
		for (int k = 0; k < 3; k++) {
			SAME(times[SIGRTMIN + k], 1);
			EXPECT(went[SIGRTMIN + k] - begin >= 0.0999 + k * 0.05);
		}
	} while (going());
	return NULL;
}
static void *run(void *p) { return (long)p < 4 ? waits(p) : signals(p); }
int main(void)
{
	threads(5, run);
	return held("timers due");
}
