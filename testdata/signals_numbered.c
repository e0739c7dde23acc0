/* Numbered real-time signals that another process sends without pause: each arrives once, in order, at a handler, at sigwaitinfo in another
 * thread and at a signalfd in a third; no call of sender or receiver fails but for want of room in the queue.
 * oracle: still with several threads and a signalfd, what waits while it moves may come back in another order */
#include "victim.h"
#include <sys/signalfd.h>
static volatile int next[3];
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
		for (int k = 0; k < 3; k++)
			while (sigqueue(to, SIGRTMIN + k, (union sigval){.sival_int = n}) != 0) {
				if (errno != EAGAIN)
					return 1;
				wait_ms(1);
			}
		n++;
		if (n % 10 == 0)
			wait_ms(2);
	}
	for (int k = 0; k < 3; k++)
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
static void *waits(void *p)
{
	siginfo_t i;
	sigset_t s;
	(void)p;
	sigemptyset(&s), sigaddset(&s, SIGRTMIN + 1);
	for (;;) {
		if (sigwaitinfo(&s, &i) == -1) {
			SAME(errno, EINTR); /* as by a stop and continue */
			continue;
		}
		if (i.si_value.sival_int < 0)
			break;
		SAME(i.si_value.sival_int, next[1]);
		SAME(i.si_pid, sender);
		next[1]++;
	}
	SAME(-1 - i.si_value.sival_int, next[1]);
	return NULL;
}
static int fd;
static void *reads(void *p)
{
	struct signalfd_siginfo i[8];
	(void)p;
	for (;;) {
		long n = read(fd, i, sizeof i);
		if (n <= 0 || n % sizeof *i) {
			SAME(n, sizeof *i);
			return NULL;
		}
		for (int k = 0; k < n / (int)sizeof *i; k++) {
			if (i[k].ssi_int < 0) {
				SAME(-1 - i[k].ssi_int, next[2]);
				return NULL;
			}
			SAME(i[k].ssi_int, next[2]);
			SAME(i[k].ssi_pid, sender);
			next[2]++;
		}
	}
}
int main(void)
{
	sigset_t s, old;
	pthread_t a, b;
	sigemptyset(&s);
	for (int k = 0; k < 3; k++)
		sigaddset(&s, SIGRTMIN + k);
	sigprocmask(SIG_BLOCK, &s, &old);
	handle(SIGRTMIN, last, SA_RESTART);
	pid_t me = getpid();
	sigset_t third;
	sigemptyset(&third), sigaddset(&third, SIGRTMIN + 2);
	fd = MUST(signalfd(-1, &third, 0));
	sender = spawn(sends, &me);
	pthread_create(&a, NULL, waits, NULL);
	pthread_create(&b, NULL, reads, NULL);
	sigprocmask(SIG_UNBLOCK, &(sigset_t){.__val = {1UL << (SIGRTMIN - 1)}}, NULL);
	while (total < 0)
		for (int i = 0; i < 1000; i++)
			work++;
	SAME(total, next[0]);
	pthread_join(a, NULL), pthread_join(b, NULL);
	reap("sender", sender);
	EXPECT(total > 10 && next[1] == total && next[2] == total);
	return held("numbered signals");
}
