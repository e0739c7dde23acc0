/* Thread-directed and process-directed signals, masks of threads, pthread_sigqueue, sigwait in one thread, tgkill errors. */
#include "victim.h"
static __thread int who;
static volatile int got_by[8];
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; __sync_fetch_and_add(&got_by[who], 1); }
static volatile int ready, stop;
static void *spins(void *p)
{
	who = (long)p;
	__sync_fetch_and_add(&ready, 1);
	while (!stop)
		burn(1);
	return NULL;
}
static void *blocked_in_read(void *p)
{
	char b;
	int *fd = p;
	who = 6;
	__sync_fetch_and_add(&ready, 1);
	long n = read(fd[0], &b, 1);
	return (void *)(long)(n == -1 ? -errno : n);
}
static void *waits(void *p)
{
	int s;
	sigset_t set;
	(void)p;
	sigemptyset(&set), sigaddset(&set, SIGTERM);
	__sync_fetch_and_add(&ready, 1);
	sigwait(&set, &s);
	return (void *)(long)s;
}
static void until(volatile int *v, int n)
{
	for (int i = 0; i < 3000 && *v < n; i++)
		wait_ms(1);
}
int main(void)
{
	pthread_t t[3], r, w;
	handle(SIGUSR1, hit, 0), handle(SIGUSR2, hit, 0);
	sigset_t term;
	sigemptyset(&term), sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	for (long i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, spins, (void *)(i + 1));
	until(&ready, 3);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k <= i; k++) {
			int before = got_by[i + 1];
			pthread_kill(t[i], SIGUSR1);
			until(&got_by[i + 1], before + 1);
		}
	printf("by thread: %d %d %d %d\n", got_by[0], got_by[1], got_by[2], got_by[3]);
	/* only thread 2 has it unblocked */
	sigset_t u2;
	sigemptyset(&u2), sigaddset(&u2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &u2, NULL);
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	int p[2];
	MUST(pipe(p));
	ready = 0;
	pthread_sigmask(SIG_UNBLOCK, &u2, NULL);
	pthread_create(&r, NULL, blocked_in_read, p);
	pthread_sigmask(SIG_BLOCK, &u2, NULL);
	until(&ready, 1);
	wait_ms(20);
	kill(getpid(), SIGUSR2); /* the main thread blocks it */
	void *res;
	pthread_join(r, &res);
	printf("process-directed went to the reader: %d, read: %s\n", got_by[6], strerrorname_np(-(long)res));
	ready = 0;
	pthread_create(&w, NULL, waits, NULL);
	until(&ready, 1);
	kill(getpid(), SIGTERM);
	pthread_join(w, &res);
	printf("sigwait: %ld\n", (long)res);
	SHOW(syscall(SYS_tgkill, getpid(), getpid(), 0));
	SHOW(syscall(SYS_tgkill, getpid(), 1, 0));
	SHOW(syscall(SYS_tgkill, getpid() + 1000000, getpid(), 0));
	return 0;
}
