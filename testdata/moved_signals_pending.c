/* Signals that are blocked and wait: queued real-time ones in order with their values, standard ones once, of threads and of the
 * process, with who sent them. */
#include "victim.h"
#define MANY 40
static sigset_t rt;
static void check(siginfo_t *i, int sig, int code, int value)
{
	SAME(i->si_signo, sig);
	SAME(i->si_code, code);
	SAME(i->si_value.sival_int, value);
	SAME(i->si_pid, getpid());
	SAME(i->si_uid, getuid());
}
static void *thread(void *p)
{
	siginfo_t i;
	struct timespec none = {0};
	for (int round = 0; going(); round++) {
		for (int k = 0; k < MANY; k++) {
			siginfo_t q = {.si_signo = SIGRTMIN + 3 + (long)p, .si_code = SI_QUEUE, .si_pid = getpid(), .si_uid = getuid()};
			q.si_value.sival_int = round * MANY + k;
			MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 3 + (long)p, &q));
		}
		burn(5);
		wait_ms(20);
		for (int k = 0; k < MANY; k++) {
			sigset_t s;
			sigemptyset(&s), sigaddset(&s, SIGRTMIN + 3 + (long)p);
			SAME(sigtimedwait(&s, &i, &none), SIGRTMIN + 3 + (long)p);
			check(&i, SIGRTMIN + 3 + (long)p, SI_QUEUE, round * MANY + k);
		}
	}
	return NULL;
}
static void *process(void *p)
{
	siginfo_t i;
	struct timespec none = {0};
	sigset_t s;
	(void)p;
	for (int round = 0; going(); round++) {
		for (int k = 0; k < MANY; k++)
			for (int n = 2; n >= 0; n--)
				MUST(sigqueue(getpid(), SIGRTMIN + n, (union sigval){.sival_int = round * MANY + k}));
		kill(getpid(), SIGUSR1), kill(getpid(), SIGUSR1);
		raise(SIGUSR2), raise(SIGUSR2);
		wait_ms(30);
		sigpending(&s);
		SAME(sigismember(&s, SIGUSR1) + sigismember(&s, SIGUSR2) + sigismember(&s, SIGRTMIN) + sigismember(&s, SIGRTMIN + 1) + sigismember(&s, SIGRTMIN + 2), 5);
		for (int n = 0; n < 3; n++) /* the lowest number first */
			for (int k = 0; k < MANY; k++) {
				SAME(sigtimedwait(&rt, &i, &none), SIGRTMIN + n);
				check(&i, SIGRTMIN + n, SI_QUEUE, round * MANY + k);
			}
		GAVE(sigtimedwait(&rt, &i, &none), -1, EAGAIN);
		sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGUSR2);
		SAME(sigtimedwait(&s, &i, &none), SIGUSR2); /* the thread's own come first */
		SAME(i.si_code, SI_USER), SAME(i.si_pid, getpid());
		SAME(sigtimedwait(&s, &i, &none), SIGUSR1);
		SAME(i.si_code, SI_USER), SAME(i.si_pid, getpid());
		GAVE(sigtimedwait(&s, &i, &none), -1, EAGAIN);
	}
	return NULL;
}
static void *run(void *p) { return (long)p < 2 ? thread(p) : process(p); }
int main(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigemptyset(&rt);
	for (int n = 0; n < 3; n++)
		sigaddset(&rt, SIGRTMIN + n);
	threads(3, run);
	return held("pending signals");
}
