/* Each thread keeps a signal mask of its own, computing or waiting; what a blocked signal does not do it still does not do. */
#include "victim.h"
static void wrong(int s, siginfo_t *i, void *c) { (void)i, (void)c; SAME(s, 0); }
static void *thread(void *p)
{
	sigset_t mine, got;
	sigemptyset(&mine);
	for (int s = 1; s < 65; s++)
		if ((s * 7 + (long)p * 3) % 5 < 3 && s != SIGKILL && s != SIGSTOP && s != 32 && s != 33)
			sigaddset(&mine, s);
	sigaddset(&mine, SIGRTMIN + (long)p);
	MUST(pthread_sigmask(SIG_SETMASK, &mine, NULL));
	MUST(syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN + (long)p));
	while (going()) {
		for (volatile long i = 0; i < 1000000; i++)
			;
		wait_ms(3);
		pthread_sigmask(SIG_BLOCK, NULL, &got);
		for (int s = 1; s < 65; s++)
			SAME(sigismember(&got, s) * 100 + s, sigismember(&mine, s) * 100 + s);
		sigpending(&got);
		for (int s = 1; s < 65; s++)
			SAME(sigismember(&got, s) * 100 + s, (s == SIGRTMIN + (long)p) * 100 + s);
		char b[4096], want[40];
		snprintf(want, sizeof want, "SigBlk:\t%016lx\n", *(unsigned long *)&mine);
		int found = 0;
		for (int i = 0; i < 20 && !found; i++) { /* it may leave between opening and reading */
			memset(b, 0, sizeof b);
			int fd = MUST(open("/proc/thread-self/status", O_RDONLY));
			MUST(read(fd, b, sizeof b - 1));
			close(fd);
			found = strstr(b, want) != NULL;
		}
		EXPECT(found);
	}
	struct timespec none = {0};
	sigemptyset(&got), sigaddset(&got, SIGRTMIN + (long)p);
	SAME(sigtimedwait(&got, NULL, &none), SIGRTMIN + (long)p);
	return NULL;
}
int main(void)
{
	for (int i = 0; i < 4; i++)
		handle(SIGRTMIN + i, wrong, 0);
	threads(4, thread);
	return held("masks");
}
