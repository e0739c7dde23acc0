/* Timers on processor time come home with the program: same numbers, same signals, still running.
 * oracle: home open of /proc/self/clear_refs
 * oracle: serial */
#include "victim.h"
static volatile int prof, vtalrm, usr1, value, tid;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)c;
	prof += s == SIGPROF, vtalrm += s == SIGVTALRM;
	if (s == SIGUSR1)
		usr1++, value = i->si_value.sival_int, tid = gettid();
	if (s == SIGUSR1 && i->si_code != SI_TIMER)
		value = -1;
}
int main(void)
{
	handle(SIGPROF, hit, SA_RESTART), handle(SIGVTALRM, hit, SA_RESTART), handle(SIGUSR1, hit, SA_RESTART);
	struct itimerval it = {{0, 20000}, {0, 20000}}, iv;
	SHOW(setitimer(ITIMER_PROF, &it, NULL));
	SHOW(setitimer(ITIMER_VIRTUAL, &it, NULL));
	timer_t a, b, real;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 7};
	SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &a));
	ev.sigev_notify = SIGEV_THREAD_ID, ev._sigev_un._tid = gettid();
	SHOW(timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &b));
	ev.sigev_notify = SIGEV_NONE;
	SHOW(timer_create(CLOCK_MONOTONIC, &ev, &real));
	TRUE(a != b && b != real && a != real);
	struct itimerspec long_ = {{50, 0}, {40, 0}}, short_ = {{0, 20000000}, {0, 20000000}}, got;
	SHOW(timer_settime(a, 0, &long_, NULL));
	SHOW(timer_settime(b, 0, &short_, NULL));
	SHOW(timer_settime(real, 0, &long_, NULL));
	burn(150);
	TRUE(prof >= 4 && vtalrm >= 4 && usr1 >= 4 && value == 7 && tid == getpid());
	int fd = MUST(open("/proc/self/clear_refs", O_WRONLY));
	SHOW(write(fd, "1", 1));
	close(fd);
	prof = vtalrm = usr1 = value = 0;
	burn(150);
	TRUE(prof >= 4 && vtalrm >= 4 && usr1 >= 4 && value == 7 && tid == getpid());
	SHOW(timer_gettime(a, &got));
	TRUE(got.it_interval.tv_sec == 50 && got.it_value.tv_sec >= 39 && got.it_value.tv_sec < 40);
	SHOW(timer_gettime(real, &got));
	TRUE(got.it_interval.tv_sec == 50 && got.it_value.tv_sec > 30);
	SHOW(getitimer(ITIMER_PROF, &iv));
	TRUE(iv.it_interval.tv_usec == 20000);
	SHOW(timer_delete(b));
	SHOW(timer_delete(a));
	SHOW(timer_delete(a));
	SHOW(timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &a));
	SHOW(timer_delete(a));
	return 0;
}
