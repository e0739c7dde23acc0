/* Children that are stopped and go on, while they compute, wait, and hold signals: the parent sees each stop and each going on once. */
#include "victim.h"
static volatile long *work;
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
static int computes(void *p)
{
	handle(SIGUSR1, hit, SA_RESTART);
	for (;;) {
		for (volatile int i = 0; i < 1000; i++)
			;
		work[(long)p]++;
		work[(long)p + 4] = hits;
	}
}
static int waits(void *p)
{
	int ends[2];
	handle(SIGUSR1, hit, SA_RESTART);
	MUST(pipe(ends));
	for (;;) {
		work[(long)p]++;
		struct pollfd f = {ends[0], POLLIN, 0};
		int r = poll(&f, 1, 3); /* a stop does not end it early: EINTR only by the handler */
		if (r == -1)
			SAME(errno, EINTR);
		work[(long)p + 4] = hits;
	}
}
int main(void)
{
	int st, sent = 0;
	work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t kids[2] = {spawn(computes, (void *)0), spawn(waits, (void *)1)};
	while (!work[0] || !work[1])
		sched_yield();
	do {
		for (int k = 0; k < 2; k++) {
			MUST(kill(kids[k], SIGSTOP));
			SAME(waitpid(kids[k], &st, WUNTRACED), kids[k]);
			SAME(WIFSTOPPED(st) ? WSTOPSIG(st) : 0, SIGSTOP);
			GAVE(waitpid(kids[k], &st, WUNTRACED | WNOHANG), 0, 0);
			long before = work[k];
			MUST(kill(kids[k], SIGUSR1)); /* waits until it goes on */
			wait_ms(15);
			SAME(work[k], before), SAME(work[k + 4], sent);
		}
		sent++;
		for (int k = 0; k < 2; k++) {
			MUST(kill(kids[k], SIGCONT));
			SAME(waitpid(kids[k], &st, WCONTINUED), kids[k]);
			SAME(WIFCONTINUED(st), 1);
			long before = work[k];
			while (work[k] < before + 3 || work[k + 4] < sent)
				sched_yield();
			SAME(work[k + 4], sent);
		}
	} while (going());
	MUST(kill(kids[0], SIGSTOP)), MUST(kill(kids[0], SIGKILL)), MUST(kill(kids[1], SIGTERM));
	reap("stopped and killed", kids[0]), reap("terminated", kids[1]);
	return held("stop and continue");
}
