/* Every signal's disposition: handler, flags, mask, restorer; ignored ones stay ignored, SA_RESETHAND resets once, masks hold in handlers. */
#include "victim.h"
static void a(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
static volatile int hits, inside;
static void counts(int s, siginfo_t *i, void *c)
{
	sigset_t m;
	(void)i, (void)c;
	SAME(inside, 0);
	inside = 1;
	pthread_sigmask(SIG_BLOCK, NULL, &m);
	SAME(sigismember(&m, s), 1);
	SAME(sigismember(&m, SIGTERM), 1);
	SAME(sigismember(&m, SIGHUP), 0);
	raise(s); /* waits until this has returned */
	for (volatile int k = 0; k < 2000000; k++)
		;
	hits++;
	inside = 0;
	if (hits % 5 == 0) { /* take the one back that would go on for ever */
		sigset_t one;
		struct timespec none = {0};
		sigemptyset(&one), sigaddset(&one, s);
		SAME(sigtimedwait(&one, NULL, &none), s);
	}
}
struct kact { void *handler; unsigned long flags; void *restorer; unsigned long mask; };
int main(void)
{
	struct kact set[65], got;
	for (int s = 1; s < 65; s++) {
		struct sigaction sa = {.sa_flags = s % 3 * SA_RESTART | s % 2 * SA_ONSTACK | (s % 5 == 0) * SA_NODEFER | (s % 7 == 0) * SA_RESETHAND};
		if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33 || s == SIGSEGV || s == SIGUSR1)
			continue;
		sa.sa_handler = s % 4 == 0 ? SIG_IGN : s % 4 == 1 ? SIG_DFL : (void *)a;
		if (s % 4 >= 2)
			sa.sa_flags |= SA_SIGINFO;
		for (int k = 1; k < 65; k += s)
			sigaddset(&sa.sa_mask, k);
		MUST(sigaction(s, &sa, NULL));
	}
	struct sigaction sa = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO};
	sigaddset(&sa.sa_mask, SIGTERM);
	MUST(sigaction(SIGUSR1, &sa, NULL));
	for (int s = 1; s < 65; s++)
		MUST(syscall(SYS_rt_sigaction, s, NULL, &set[s], 8));
	while (going()) {
		for (int s = 1; s < 65; s++) {
			MUST(syscall(SYS_rt_sigaction, s, NULL, &got, 8));
			EXPECT(got.handler == set[s].handler && got.restorer == set[s].restorer);
			SAME(got.flags * 100 + s, set[s].flags * 100 + s);
			SAME(got.mask, set[s].mask);
			if (set[s].handler == SIG_IGN)
				raise(s), kill(getpid(), s);
		}
		hits = 0;
		raise(SIGUSR1);
		SAME(hits, 5);
		/* reset once it has been handled */
		sa = (struct sigaction){.sa_sigaction = a, .sa_flags = SA_SIGINFO | SA_RESETHAND};
		MUST(sigaction(SIGCHLD, &sa, NULL));
		wait_ms(2);
		raise(SIGCHLD);
		MUST(sigaction(SIGCHLD, NULL, &sa));
		EXPECT(sa.sa_handler == SIG_DFL);
		MUST(syscall(SYS_rt_sigaction, SIGCHLD, &set[SIGCHLD], NULL, 8));
	}
	return held("handlers");
}
