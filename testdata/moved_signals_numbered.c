/* Numbered real-time signals that another process sends without pause: each arrives once, in order, at a handler and at sigwaitinfo; no call of
 * sender or receiver fails but for want of room in the queue.
 * oracle: still one move in some dozens under this rain of signals ends it with SIGILL, for a reason that is not known yet */
#include "victim.h"
static volatile int next[2];
static volatile unsigned long work;
static pid_t sender;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	SAME(i->si_value.sival_int, next[0]);
	SAME(i->si_pid, sender);
	next[0]++;
}
static int sends(void *p)
{
	pid_t to = *(pid_t *)p;
	int n = 0;
	while (going() || n <= 10) {
		for (int k = 0; k < 2; k++)
			while (sigqueue(to, SIGRTMIN + k, (union sigval){.sival_int = n}) != 0) {
				if (errno != EAGAIN)
					return 1;
				wait_ms(1);
			}
		n++;
		if (n % 10 == 0)
			wait_ms(2);
	}
	for (int k = 0; k < 2; k++)
		while (sigqueue(to, SIGRTMIN + k, (union sigval){.sival_int = -1 - n}) != 0)
			wait_ms(1);
	return 0;
}
static volatile int total = -1;
static void last(int s, siginfo_t *i, void *c)
{
	if (i->si_value.sival_int < 0)
		total = -1 - i->si_value.sival_int;
	else
		hit(s, i, c);
}
int main(void)
{
	sigset_t s, one;
	siginfo_t i;
	sigemptyset(&s), sigaddset(&s, SIGRTMIN), sigaddset(&s, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	handle(SIGRTMIN, last, SA_RESTART);
	pid_t me = getpid();
	sender = spawn(sends, &me);
	sigemptyset(&one), sigaddset(&one, SIGRTMIN);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	sigemptyset(&one), sigaddset(&one, SIGRTMIN + 1);
	int ended = 0;
	while (total < 0 || !ended) {
		for (int k = 0; k < 1000; k++)
			work++;
		struct timespec some = {0, next[1] % 3 * 500000};
		if (sigtimedwait(&one, &i, &some) == -1) {
			EXPECT(errno == EAGAIN || errno == EINTR); /* EINTR by the handler */
			continue;
		}
		SAME(i.si_pid, sender);
		if (i.si_value.sival_int < 0) {
			SAME(-1 - i.si_value.sival_int, next[1]);
			ended = 1;
		} else {
			SAME(i.si_value.sival_int, next[1]);
			next[1]++;
		}
	}
	SAME(total, next[0]);
	reap("sender", sender);
	EXPECT(total > 10 && next[1] == total);
	return held("numbered signals");
}
