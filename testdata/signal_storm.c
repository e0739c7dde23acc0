/* A thousand queued signals from a child, each arriving exactly once, while the parent reads a pipe byte by byte without loss. */
#include "victim.h"
static volatile int hits, sum;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)c; hits++, sum += i->si_value.sival_int; }
int main(void)
{
	int p[2];
	MUST(pipe(p));
	handle(SIGRTMIN, hit, SA_RESTART);
	pid_t me = getpid(), q = MUST(fork());
	if (q == 0) {
		for (int i = 0; i < 1000; i++) {
			while (sigqueue(me, SIGRTMIN, (union sigval){.sival_int = i}) == -1)
				sched_yield();
			unsigned char b = i;
			MUST(write(p[1], &b, 1));
		}
		_exit(0);
	}
	close(p[1]);
	unsigned char b;
	int n = 0, wrong = 0;
	for (long r; (r = read(p[0], &b, 1)) != 0;) {
		if (r == -1) {
			printf("read: %s\n", strerrorname_np(errno));
			break;
		}
		wrong += b != (unsigned char)n++;
	}
	reap("sender", q);
	printf("%d bytes, %d wrong, %d signals, sum %d\n", n, wrong, hits, sum);
	return 0;
}
