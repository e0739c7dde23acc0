/* Signals that wait for a signalfd to read them: each is read once, with its value, and nothing else gets it. */
#include "victim.h"
#include <sys/signalfd.h>
enum { MOST = 1000000 };
static unsigned char seen[MOST];
static int sends(void *p)
{
	int n = 0;
	for (; (going() || n <= 10) && n < MOST - 1; n++) {
		while (sigqueue(*(pid_t *)p, SIGRTMIN + 2, (union sigval){.sival_int = n}) != 0) {
			SAME(errno, EAGAIN);
			wait_ms(1);
		}
		if (n % 10 == 0)
			wait_ms(2);
	}
	while (sigqueue(*(pid_t *)p, SIGRTMIN + 3, (union sigval){.sival_int = n}) != 0)
		wait_ms(1);
	return victim_faults;
}
int main(void)
{
	struct signalfd_siginfo i[8];
	sigset_t s;
	pid_t me = getpid();
	int n = 0, total = -1;
	sigemptyset(&s), sigaddset(&s, SIGRTMIN + 2), sigaddset(&s, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &s, NULL);
	int fd = MUST(signalfd(-1, &s, 0));
	pid_t sender = spawn(sends, &me);
	while (n != total) {
		long r = MUST(read(fd, i, sizeof i));
		SAME(r % sizeof *i, 0);
		for (int k = 0; k < r / (int)sizeof *i; k++) {
			SAME(i[k].ssi_pid, sender), SAME(i[k].ssi_code, SI_QUEUE);
			if (i[k].ssi_signo == SIGRTMIN + 3)
				total = i[k].ssi_int;
			else
				n++, SAME(seen[i[k].ssi_int]++, 0);
		}
		for (volatile int k = 0; k < 20000; k++)
			;
	}
	SAME(sigpending(&s), 0);
	SAME(sigismember(&s, SIGRTMIN + 2) + sigismember(&s, SIGRTMIN + 3), 0);
	EXPECT(total > 10);
	reap("sender", sender);
	return held("signalfd");
}
