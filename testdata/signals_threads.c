/* Numbered real-time signals that another process sends to one of several threads: each arrives once, in order, at the only thread that does not block
 * it, at one that waits for it, and at one that they were sent to. */
#include "victim.h"
enum { MANY = 300 };
static volatile int next[3], wrong;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)c; wrong += i->si_value.sival_int != next[0]++; }
static void *waits(void *p)
{
	int k = (long)p;
	sigset_t s;
	siginfo_t i;
	sigemptyset(&s), sigaddset(&s, SIGRTMIN + k);
	while (next[k] < MANY)
		if (sigwaitinfo(&s, &i) != -1)
			wrong += i.si_value.sival_int != next[k]++;
	return NULL;
}
static int sends(void *p)
{
	pid_t to = *(pid_t *)p;
	for (int n = 0; n < MANY; n++) {
		for (int k = 0; k < 2; k++)
			while (sigqueue(to, SIGRTMIN + k, (union sigval){.sival_int = n}) == -1)
				sched_yield();
		if (n % 10 == 0)
			wait_ms(1);
	}
	return 0;
}
int main(void)
{
	pthread_t t[2];
	sigset_t s;
	sigemptyset(&s);
	for (int k = 0; k < 3; k++)
		sigaddset(&s, SIGRTMIN + k);
	sigprocmask(SIG_BLOCK, &s, NULL);
	handle(SIGRTMIN, hit, SA_RESTART);
	pid_t me = getpid(), q = spawn(sends, &me);
	pthread_create(&t[0], NULL, waits, (void *)1);
	pthread_create(&t[1], NULL, waits, (void *)2);
	sigemptyset(&s), sigaddset(&s, SIGRTMIN);
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	for (int n = 0; n < MANY; n++)
		MUST(pthread_sigqueue(t[1], SIGRTMIN + 2, (union sigval){.sival_int = n}));
	while (next[0] < MANY)
		wait_ms(1);
	for (int k = 0; k < 2; k++)
		pthread_join(t[k], NULL);
	reap("sender", q);
	printf("%d %d %d, %d wrong\n", next[0], next[1], next[2], wrong);
	return 0;
}
