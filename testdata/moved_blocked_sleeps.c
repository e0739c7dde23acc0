/* Sleeps end when it is time, not before and not later for having been moved: relative and absolute, of every clock, and what remains of one
 * that a signal cut short. */
#include "victim.h"
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
static void add(struct timespec *t, long ns)
{
	t->tv_nsec += ns;
	t->tv_sec += t->tv_nsec / 1000000000, t->tv_nsec %= 1000000000;
}
static pthread_t sleeper;
static volatile int phase, ended; /* of the thread that is interrupted */
static void *thread(void *p)
{
	do {
		struct timespec t = {0, 180000000}, left;
		switch ((long)p) {
		case 0: TIMED(0.18, nanosleep(&t, NULL), 0, 0); break;
		case 1: TIMED(0.18, clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), 0, 0); break;
		case 2: TIMED(0.18, clock_nanosleep(CLOCK_REALTIME, 0, &t, NULL), 0, 0); break;
		case 3:
			clock_gettime(CLOCK_MONOTONIC, &t), add(&t, 180000000);
			SAME(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL), 0);
			clock_gettime(CLOCK_MONOTONIC, &left);
			EXPECT(left.tv_sec > t.tv_sec || (left.tv_sec == t.tv_sec && left.tv_nsec >= t.tv_nsec));
			break;
		case 4:
			clock_gettime(CLOCK_REALTIME, &t), add(&t, 180000000);
			SAME(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL), 0);
			clock_gettime(CLOCK_REALTIME, &left);
			EXPECT(left.tv_sec > t.tv_sec || (left.tv_sec == t.tv_sec && left.tv_nsec >= t.tv_nsec));
			break;
		case 5: TIMED(0.18, clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL), 0, 0); break;
		case 6: { /* is interrupted, and what it slept and what remains make up the whole */
			sleeper = pthread_self();
			t = (struct timespec){30, 0};
			double began = now();
			phase = 1;
			GAVE(nanosleep(&t, &left), -1, EINTR);
			double took = now() - began, rest = left.tv_sec + left.tv_nsec / 1e9;
			phase = 0;
			EXPECT(took + rest >= 29.999 && took + rest < 30 + SLACK);
			break;
		}
		case 7: /* interrupts that one; the first time it may not sleep yet */
			TIMED(0.06, usleep(60000), 0, 0);
			if (phase)
				pthread_kill(sleeper, SIGUSR1);
		}
	} while (going());
	while ((long)p == 7 && !ended) {
		if (phase)
			pthread_kill(sleeper, SIGUSR1);
		wait_ms(60);
	}
	if ((long)p == 6)
		ended = 1;
	return NULL;
}
int main(void)
{
	handle(SIGUSR1, hit, 0);
	threads(8, thread);
	return held("sleeps");
}
