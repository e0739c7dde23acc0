/* A timer on processor time interrupts the thread that computes, while the main thread waits in a system call; a thread's own timer counts that thread.
 * oracle: serial
 * oracle: still it counts what a timer did in a stretch of time that moves make longer */
#include "victim.h"
static volatile int main_hits, worker_hits, own_hits;
static pthread_t main_thread;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)i, (void)c;
	if (s == SIGUSR1)
		own_hits++;
	else if (pthread_equal(pthread_self(), main_thread))
		main_hits++;
	else
		worker_hits++;
}
static void *worker(void *p)
{
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	ev._sigev_un._tid = gettid();
	MUST(timer_create(CLOCK_THREAD_CPUTIME_ID, &ev, &t));
	struct itimerspec ts = {{0, 20000000}, {0, 20000000}};
	MUST(timer_settime(t, 0, &ts, NULL));
	burn(200);
	MUST(timer_delete(t));
	MUST(write(*(int *)p, "x", 1));
	return NULL;
}
int main(void)
{
	int fd[2];
	char c;
	pthread_t t;
	main_thread = pthread_self();
	handle(SIGPROF, hit, SA_RESTART), handle(SIGUSR1, hit, SA_RESTART);
	MUST(pipe(fd));
	struct itimerval it = {{0, 20000}, {0, 20000}};
	MUST(setitimer(ITIMER_PROF, &it, NULL));
	pthread_create(&t, NULL, worker, &fd[1]);
	SHOW(read(fd[0], &c, 1));
	pthread_join(t, NULL);
	TRUE(worker_hits >= 5 && worker_hits + main_hits <= 12);
	TRUE(own_hits >= 5 && own_hits <= 12);
	/* the handler of a timer at home counts what it missed, however it learns of it */
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
	struct itimerspec ts = {{0, 5000000}, {0, 5000000}}, none = {{0, 0}, {0, 0}};
	struct timespec zero = {0, 0};
	sigset_t set;
	siginfo_t si;
	timer_t r;
	it.it_value.tv_usec = it.it_interval.tv_usec = 0;
	MUST(setitimer(ITIMER_PROF, &it, NULL));
	block(SIGUSR2, &set);
	sigemptyset(&set), sigaddset(&set, SIGUSR2);
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &r));
	MUST(timer_settime(r, 0, &ts, NULL));
	wait_ms(400);
	SHOW(sigtimedwait(&set, &si, &zero));
	TRUE(si.si_code == SI_TIMER && si.si_overrun >= 10 && timer_getoverrun(r) >= 10);
	MUST(timer_settime(r, 0, &none, NULL));
	while (sigtimedwait(&set, &si, &zero) > 0)
		;
	ts.it_interval.tv_nsec = 0;
	MUST(timer_settime(r, 0, &ts, NULL));
	SHOW(sigwaitinfo(&set, &si));
	TRUE(si.si_overrun == 0 && timer_getoverrun(r) == 0);
	SHOW(sigtimedwait(&set, &si, &zero));
	return 0;
}
