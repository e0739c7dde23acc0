/* ppoll, pselect, epoll_pwait and sigsuspend change the mask only while they wait; fork and threads inherit masks. */
#include "victim.h"
#include <sys/epoll.h>
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
static int masked(void)
{
	sigset_t m;
	sigprocmask(0, NULL, &m);
	return sigismember(&m, SIGUSR1);
}
static int child(void *p) { (void)p; sigset_t m; sigpending(&m); return masked() + 2 * sigismember(&m, SIGUSR1); }
static void *thread(void *p) { (void)p; return (void *)(long)masked(); }
int main(void)
{
	handle(SIGUSR1, hit, SA_RESTART);
	sigset_t none;
	sigemptyset(&none);
	block(SIGUSR1, NULL);
	int p[2], ep = epoll_create1(0);
	MUST(pipe(p));
	struct pollfd pf = {p[0], POLLIN, 0};
	struct timespec t = {0, 20000000};
	struct epoll_event ev;
	fd_set fs;
	for (int round = 0; round < 2; round++) { /* pending before, and coming while it waits */
#define ROUND(call)                                                              \
	hits = 0;                                                                    \
	pid_t helper = 0;                                                            \
	if (round == 0)                                                              \
		kill(getpid(), SIGUSR1);                                                 \
	else                                                                         \
		helper = later(SIGUSR1, 30);                                             \
	SHOW(call);                                                                  \
	printf("hits %d, masked %d\n", hits, masked());                              \
	if (helper)                                                                  \
		waitpid(helper, NULL, 0);
		{ ROUND(ppoll(&pf, 1, NULL, &none)); }
		FD_ZERO(&fs);
		FD_SET(p[0], &fs);
		{ ROUND(pselect(p[0] + 1, &fs, NULL, NULL, NULL, &none)); }
		{ ROUND(epoll_pwait(ep, &ev, 1, -1, &none)); }
		{ ROUND(sigsuspend(&none)); }
	}
	hits = 0;
	SHOW(ppoll(&pf, 1, &t, &none));
	MUST(write(p[1], "x", 1));
	kill(getpid(), SIGUSR1);
	SHOW(ppoll(&pf, 1, &t, &none)); /* ready wins, and the signal is delivered or stays pending as the kernel likes */
	printf("hits %d\n", hits);
	SHOW(ppoll(&pf, 1, &t, NULL));
	block(SIGUSR1, NULL);
	kill(getpid(), SIGUSR1);
	reap("child", spawn(child, NULL));
	pthread_t th;
	void *r;
	pthread_create(&th, NULL, thread, NULL);
	pthread_join(th, &r);
	printf("thread masked %ld\n", (long)r);
	SHOW(syscall(SYS_ppoll, &pf, 1, &t, &none, 4));
	SHOW(syscall(SYS_rt_sigsuspend, &none, 4));
	SHOW(syscall(SYS_rt_sigprocmask, 99, &none, NULL, 8));
	return 0;
}
