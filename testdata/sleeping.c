/* nanosleep and clock_nanosleep: they sleep long enough, report what remained, absolute ones too; timeouts of poll, select, epoll.
 * oracle: serial
 * oracle: still its one signal may come before the sleep that it is to interrupt */
#include "victim.h"
#include <sys/epoll.h>
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
#define TAKES(ms, call)                                                                        \
	do {                                                                                       \
		double t0 = now();                                                                     \
		SHOW(call);                                                                            \
		double took = (now() - t0) * 1000;                                                     \
		printf("  %s\n", took < (ms)-0.01 ? "too short" : took > (ms) + 250 ? "too long" : "in time"); \
	} while (0)
int main(void)
{
	struct timespec t = {0, 30000000}, rem = {77, 77};
	TAKES(30, nanosleep(&t, &rem));
	TRUE(rem.tv_sec == 77);
	TAKES(30, clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL));
	TAKES(30, clock_nanosleep(CLOCK_REALTIME, 0, &t, NULL));
	TAKES(30, clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL));
	int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
	for (int i = 0; i < 3; i++) {
		struct timespec a, b;
		clock_gettime(clocks[i], &a);
		a.tv_nsec += 40000000;
		if (a.tv_nsec > 999999999)
			a.tv_sec++, a.tv_nsec -= 1000000000;
		TAKES(39, clock_nanosleep(clocks[i], TIMER_ABSTIME, &a, NULL));
		clock_gettime(clocks[i], &b);
		TRUE(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
		TAKES(0, clock_nanosleep(clocks[i], TIMER_ABSTIME, &a, NULL));
	}
	TAKES(30, poll(NULL, 0, 30));
	TAKES(30, epoll_wait(epoll_create1(0), &(struct epoll_event){0}, 1, 30));
	struct timeval tv = {0, 30000};
	TAKES(30, select(0, NULL, NULL, NULL, &tv));
	TRUE(tv.tv_sec == 0 && tv.tv_usec == 0);
	tv.tv_sec = 5, tv.tv_usec = 0;
	int p[2];
	MUST(pipe(p));
	MUST(write(p[1], "x", 1));
	fd_set s;
	FD_ZERO(&s);
	FD_SET(p[0], &s);
	TAKES(0, select(p[0] + 1, &s, NULL, NULL, &tv));
	TRUE(tv.tv_sec == 4 && tv.tv_usec > 0);
	handle(SIGALRM, hit, SA_RESTART);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 30000}}, NULL);
	t.tv_sec = 3, t.tv_nsec = 0;
	TAKES(30, nanosleep(&t, &rem));
	TRUE(rem.tv_sec == 2 && rem.tv_nsec > 700000000);
	t.tv_sec = 0, t.tv_nsec = 30000000;
	TAKES(30, ppoll(NULL, 0, &t, NULL));
	t.tv_nsec = 1000000000;
	SHOW(nanosleep(&t, NULL));
	t.tv_nsec = -1;
	SHOW(nanosleep(&t, NULL));
	SHOW(nanosleep((void *)8, NULL));
	SHOW(clock_nanosleep(77, 0, &(struct timespec){0, 1}, NULL) == EINVAL);
	return 0;
}
