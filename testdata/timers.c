/* alarm, setitimer of all kinds, timer_create, timerfd: they fire, count, are read back, are not inherited by fork.
 * oracle: serial
 * oracle: still it counts what a timer did in a stretch of time that moves make longer */
#include "victim.h"
#include <sys/timerfd.h>
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
static int inherits(void *p)
{
	(void)p;
	struct itimerval v;
	getitimer(ITIMER_REAL, &v);
	return alarm(0) != 0 || v.it_value.tv_sec != 0;
}
int main(void)
{
	SHOW(alarm(100));
	SHOW(alarm(50) >= 99);
	reap("child has no alarm", spawn(inherits, NULL));
	SHOW(alarm(0) >= 49);
	handle(SIGALRM, hit, 0), handle(SIGVTALRM, hit, 0), handle(SIGPROF, hit, 0);
	struct itimerval it = {{0, 20000}, {0, 20000}}, cur, off = {{0, 0}, {0, 0}};
	SHOW(setitimer(ITIMER_REAL, &it, NULL));
	while (hits < 5)
		pause();
	SHOW(setitimer(ITIMER_REAL, &off, &cur));
	TRUE(cur.it_interval.tv_usec == 20000 && cur.it_value.tv_usec <= 20000);
	hits = 0;
	SHOW(setitimer(ITIMER_VIRTUAL, &it, NULL));
	wait_ms(50); /* sleeping uses no processor */
	printf("virtual while asleep: %d\n", hits);
	burn(150);
	TRUE(hits >= 4 && hits <= 9);
	SHOW(setitimer(ITIMER_VIRTUAL, &off, &cur));
	TRUE(cur.it_interval.tv_usec == 20000);
	hits = 0;
	SHOW(setitimer(ITIMER_PROF, &it, NULL));
	burn(150);
	TRUE(hits >= 4 && hits <= 9);
	SHOW(setitimer(ITIMER_PROF, &off, NULL));
	SHOW(setitimer(7, &it, NULL));
	it.it_value.tv_usec = 1000000;
	SHOW(setitimer(ITIMER_REAL, &it, NULL));
	hits = 0;
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	SHOW(timer_create(CLOCK_REALTIME, &ev, &t));
	struct itimerspec ts = {{0, 10000000}, {0, 10000000}}, got;
	SHOW(timer_settime(t, 0, &ts, NULL));
	while (hits < 3)
		pause();
	SHOW(timer_gettime(t, &got));
	TRUE(got.it_interval.tv_nsec == 10000000);
	sigset_t old;
	block(SIGALRM, &old);
	wait_ms(300);
	hits = 0;
	sigprocmask(SIG_SETMASK, &old, NULL);
	TRUE(hits >= 1 && timer_getoverrun(t) >= 2);
	SHOW(timer_delete(t));
	SHOW(timer_delete(t));
	hits = 0;
	ev.sigev_signo = SIGPROF;
	SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &t));
	SHOW(timer_settime(t, 0, &ts, NULL));
	wait_ms(50);
	printf("cpu timer while asleep: %d\n", hits);
	burn(100);
	TRUE(hits >= 2);
	SHOW(timer_delete(t));
	int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	SHOW(timerfd_settime(fd, 0, &ts, NULL));
	wait_ms(55);
	uint64_t n;
	SHOW(read(fd, &n, 8));
	TRUE(n >= 5);
	struct pollfd p = {fd, POLLIN, 0};
	SHOW(poll(&p, 1, 1000));
	SHOW(timerfd_gettime(fd, &got));
	ts.it_value.tv_nsec = 0;
	SHOW(timerfd_settime(fd, 0, &ts, NULL));
	SHOW(poll(&p, 1, 30));
	clock_gettime(CLOCK_MONOTONIC, &ts.it_value);
	ts.it_value.tv_sec--;
	ts.it_interval.tv_nsec = 0;
	SHOW(timerfd_settime(fd, TFD_TIMER_ABSTIME, &ts, NULL));
	SHOW(read(fd, &n, 8));
	SHOW(n);
	return 0;
}
