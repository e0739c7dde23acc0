/* Timers on processor time: what remains goes down by what was used, and they go off when it has been used, not before.
 * oracle: serial */
#include "victim.h"
static volatile int ticks[4];
static void tick(int s, siginfo_t *i, void *c)
{
	(void)c;
	ticks[0] += s == SIGPROF, ticks[1] += s == SIGVTALRM, ticks[2] += s == SIGUSR1, ticks[3] += s == SIGUSR2;
	if (s == SIGUSR1 || s == SIGUSR2)
		SAME(i->si_code, SI_TIMER), SAME(i->si_value.sival_int, s * 10);
}
static double sec(struct timespec t) { return t.tv_sec + t.tv_nsec / 1e9; }
int main(void)
{
	static const int sigs[] = {SIGPROF, SIGVTALRM, SIGUSR1, SIGUSR2};
	for (int k = 0; k < 4; k++)
		handle(sigs[k], tick, SA_RESTART);
	timer_t t[2], far_[2];
	struct itimerspec ts = {{0, 20000000}, {0, 20000000}}, much = {{40, 0}, {60, 0}}, got;
	struct itimerval it = {{0, 20000}, {0, 20000}}, iv;
	for (int k = 0; k < 2; k++) {
		struct sigevent ev = {.sigev_notify = k ? SIGEV_THREAD_ID : SIGEV_SIGNAL, .sigev_signo = sigs[2 + k], .sigev_value.sival_int = sigs[2 + k] * 10};
		ev._sigev_un._tid = gettid();
		MUST(timer_create(k ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID, &ev, &t[k]));
		MUST(timer_create(k ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID, &ev, &far_[k]));
		MUST(timer_settime(t[k], 0, &ts, NULL));
		MUST(timer_settime(far_[k], 0, &much, NULL));
	}
	MUST(setitimer(ITIMER_PROF, &it, NULL)), MUST(setitimer(ITIMER_VIRTUAL, &it, NULL));
	double last[2] = {60, 60};
	do {
		int before[4];
		for (int k = 0; k < 4; k++)
			before[k] = ticks[k];
		wait_ms(5);
		double begin = now(); /* by this thread alone: the processor time used is at most what has passed */
		for (volatile long i = 0; i < 100000000; i++)
			;
		double most = now() - begin;
		for (int k = 0; k < 4; k++)
			EXPECT(ticks[k] - before[k] <= most / 0.02 + 3);
		for (int k = 0; k < 2; k++) {
			MUST(timer_gettime(t[k], &got));
			SAME(got.it_interval.tv_nsec, 20000000);
			EXPECT(sec(got.it_value) > 0 && sec(got.it_value) <= 0.03);
			MUST(timer_gettime(far_[k], &got));
			EXPECT(sec(got.it_value) <= last[k] && sec(got.it_value) > last[k] - (now() - begin) - 1);
			last[k] = sec(got.it_value);
		}
		MUST(getitimer(ITIMER_PROF, &iv));
		SAME(iv.it_interval.tv_usec, 20000);
		MUST(getitimer(ITIMER_VIRTUAL, &iv));
		SAME(iv.it_interval.tv_usec, 20000);
	} while (going() || ticks[0] < 2 || ticks[1] < 2 || ticks[2] < 2 || ticks[3] < 2);
	EXPECT(last[0] < 59.99 && last[1] < 59.99);
	return held("timers on processor time");
}
