/* Real-time signals queue, in order of number, then of time; standard ones do not; masks, sigpending, sigwaitinfo, sigtimedwait. */
#include "victim.h"
static volatile int order[64], n;
static void hit(int s, siginfo_t *i, void *c) { (void)c; order[n++] = (s - SIGRTMIN) * 100 + i->si_value.sival_int; }
int main(void)
{
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	for (int k = 1; k <= 3; k++)
		handle(SIGRTMIN + k, hit, 0);
	for (int v = 0; v < 3; v++)
		for (int k = 3; k >= 1; k--)
			SHOW(sigqueue(getpid(), SIGRTMIN + k, (union sigval){.sival_int = v}));
	for (int k = 0; k < 5; k++)
		kill(getpid(), SIGUSR1);
	sigset_t p;
	sigpending(&p);
	printf("pending %d %d %d %d\n", sigismember(&p, SIGUSR1), sigismember(&p, SIGRTMIN + 1), sigismember(&p, SIGRTMIN + 4), sigismember(&p, SIGUSR2));
	siginfo_t si;
	sigset_t one;
	sigemptyset(&one), sigaddset(&one, SIGUSR1);
	TRUE(sigwaitinfo(&one, &si) == SIGUSR1 && si.si_code == SI_USER && si.si_pid == getpid());
	struct timespec zero = {0, 0}, some = {0, 30000000};
	SHOW(sigtimedwait(&one, &si, &zero));
	double t = now();
	SHOW(sigtimedwait(&one, &si, &some));
	TRUE(now() - t >= 0.03);
	sigemptyset(&one), sigaddset(&one, SIGRTMIN + 2);
	TRUE(sigwaitinfo(&one, &si) == SIGRTMIN + 2 && si.si_value.sival_int == 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	/* handlers run nested, last dequeued first: what is printed is the order of handlers */
	for (int i = 0; i < n; i++)
		printf("%d ", order[i]);
	printf("\n");
	signal(SIGUSR2, SIG_IGN);
	sigprocmask(SIG_BLOCK, &all, NULL);
	kill(getpid(), SIGUSR2);
	sigpending(&p);
	printf("ignored pending %d\n", sigismember(&p, SIGUSR2));
	pid_t c = MUST(fork());
	if (c == 0) {
		wait_ms(30);
		sigqueue(getppid(), SIGRTMIN + 5, (union sigval){.sival_int = 5});
		_exit(0);
	}
	sigemptyset(&one), sigaddset(&one, SIGRTMIN + 5);
	TRUE(sigwaitinfo(&one, &si) == SIGRTMIN + 5 && si.si_pid == c && si.si_value.sival_int == 5);
	reap("child", c);
	setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){1, 1});
	int sent = 0;
	while (sent < 1000 && sigqueue(getpid(), SIGRTMIN + 6, (union sigval){.sival_int = 1}) == 0)
		sent++;
	printf("queue ends: %s\n", strerrorname_np(errno));
	return 0;
}
