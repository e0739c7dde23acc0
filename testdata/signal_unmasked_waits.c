/* ppoll, pselect and epoll_pwait with a mask that blocks no more and no less than before: interrupted by a caught signal, EINTR once. */
#include "victim.h"
#include <sys/epoll.h>
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
static int sends(void *p) /* again and again: the first may come before the wait */
{
	while (wait_ms(40), kill(getppid(), *(int *)p) == 0)
		;
	return 0;
}
int main(void)
{
	sigset_t same;
	int p[2], ep = epoll_create1(0);
	struct pollfd pf;
	struct epoll_event ev;
	fd_set fs;
	MUST(pipe(p));
	pf = (struct pollfd){p[0], POLLIN, 0};
	sigprocmask(0, NULL, &same);
	for (int restart = 0; restart < 2; restart++)
		for (int sig = 0; sig < 2; sig++)
			for (int k = 0; k < 4; k++) {
				int s = sig ? SIGWINCH : SIGUSR1;
				handle(s, hit, restart ? SA_RESTART : 0);
				hits = 0;
				FD_ZERO(&fs);
				FD_SET(p[0], &fs);
				pid_t c = spawn(sends, &s);
				switch (k) {
				case 0: SHOW(ppoll(&pf, 1, NULL, &same)); break;
				case 1: SHOW(pselect(p[0] + 1, &fs, NULL, NULL, NULL, &same)); break;
				case 2: SHOW(epoll_pwait(ep, &ev, 1, -1, &same)); break;
				case 3: SHOW(sigsuspend(&same)); break;
				}
				puts(hits ? "hit" : "not hit");
				kill(c, SIGKILL), waitpid(c, NULL, 0);
			}
	return 0;
}
