/* What remains of timers on real clocks: it goes down with the clock, never up, and they go off when it is time, as often as it is time. */
#include "victim.h"
#include <sys/timerfd.h>
static volatile int ticks[3];
static void tick(int s, siginfo_t *i, void *c)
{
	(void)c;
	ticks[0] += s == SIGALRM, ticks[1] += s == SIGUSR1, ticks[2] += s == SIGUSR2;
	if (s != SIGALRM)
		SAME(i->si_code, SI_TIMER), SAME(i->si_value.sival_int, 1000 + s);
}
static double left(struct timespec t) { return t.tv_sec + t.tv_nsec / 1e9; }
int main(void)
{
	handle(SIGALRM, tick, SA_RESTART), handle(SIGUSR1, tick, SA_RESTART), handle(SIGUSR2, tick, SA_RESTART);
	static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
	timer_t long_[3], short_[2];
	int fds[3], counts;
	struct itimerspec far_ = {{7, 0}, {500, 0}}, near_ = {{0, 30000000}, {0, 30000000}}, got;
	double begin = now();
	for (int k = 0; k < 3; k++) {
		struct sigevent ev = {.sigev_notify = SIGEV_NONE};
		MUST(timer_create(clocks[k], &ev, &long_[k]));
		MUST(timer_settime(long_[k], 0, &far_, NULL));
		fds[k] = MUST(timerfd_create(clocks[k], TFD_NONBLOCK));
		MUST(timerfd_settime(fds[k], 0, &far_, NULL));
	}
	MUST(counts = timerfd_create(CLOCK_MONOTONIC, 0));
	MUST(timerfd_settime(counts, 0, &near_, NULL));
	for (int k = 0; k < 2; k++) {
		struct sigevent ev = {.sigev_notify = k ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = k ? SIGUSR2 : SIGUSR1};
		ev.sigev_value.sival_int = 1000 + ev.sigev_signo;
		ev._sigev_un._tid = gettid();
		MUST(timer_create(clocks[k], &ev, &short_[k]));
		MUST(timer_settime(short_[k], 0, &near_, NULL));
	}
	struct itimerval it = {{0, 30000}, {0, 30000}}, iv;
	MUST(setitimer(ITIMER_REAL, &it, NULL));
	double last[6] = {500, 500, 500, 500, 500, 500};
	uint64_t all = 0, n;
	for (int round = 0; going() || all < 5; round++) {
		MUST(read(counts, &n, 8));
		all += n;
		EXPECT(n >= 1 && all <= (now() - begin) / 0.03 + 1e-3);
		for (int k = 0; k < 6; k++) {
			double before = now(), l;
			if (k < 3)
				MUST(timer_gettime(long_[k], &got));
			else
				MUST(timerfd_gettime(fds[k - 3], &got));
			l = left(got.it_value);
			SAME(got.it_interval.tv_sec, 7);
			EXPECT(l > 0 && l <= last[k]);
			EXPECT(l >= 500 - (now() - begin) - 0.02 && l <= 500.2 - (before - begin)); /* other clocks may go a little differently */
			last[k] = l;
		}
		MUST(getitimer(ITIMER_REAL, &iv));
		SAME(iv.it_interval.tv_usec, 30000);
		EXPECT(iv.it_value.tv_sec == 0 && iv.it_value.tv_usec <= 30000);
		for (volatile int i = 0; i < 100000; i++)
			;
	}
	double took = now() - begin;
	EXPECT(ticks[0] >= 1 && ticks[0] <= took / 0.03 + 1);
	EXPECT(ticks[1] >= 1 && ticks[1] <= took / 0.03 + 1);
	EXPECT(ticks[2] >= 1 && ticks[2] <= took / 0.03 + 1);
	EXPECT(all >= 5);
	it = (struct itimerval){0};
	MUST(setitimer(ITIMER_REAL, &it, NULL));
	for (int k = 0; k < 3; k++) {
		GAVE(read(fds[k], &n, 8), -1, EAGAIN);
		MUST(timer_delete(long_[k]));
	}
	GAVE(timer_gettime(long_[0], &got), -1, EINVAL);
	MUST(alarm(300));
	unsigned a = alarm(0);
	EXPECT(a >= 299 && a <= 300);
	return held("timers on real clocks");
}
