/* Resource limits that the kernel enforces: processor time, memory, file size, stack, core, processes; prlimit of oneself and of others.
 * oracle: still the limit on processor time begins anew on each node */
#include "victim.h"
static volatile int xcpu;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; xcpu++; }
static int cpu(void *p)
{
	handle(SIGXCPU, hit, 0);
	setrlimit(RLIMIT_CPU, &(struct rlimit){1, (long)p});
	double t = now();
	while (now() - t < 30)
		if (xcpu == 1 && (long)p > 5)
			return 20;
	return 1;
}
static int killed(void *p) { (void)p; setrlimit(RLIMIT_CPU, &(struct rlimit){1, 1}); for (double t = now(); now() - t < 30;); return 1; }
static int space(void *p)
{
	(void)p;
	SHOW(setrlimit(RLIMIT_AS, &(struct rlimit){64 << 20, 64 << 20}));
	TRUE(mmap(NULL, 128 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	TRUE(malloc(100 << 20) == NULL);
	TRUE(mmap(NULL, 8 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	SHOW(setrlimit(RLIMIT_DATA, &(struct rlimit){1 << 20, 1 << 20}));
	TRUE(sbrk(16 << 20) == (void *)-1 && errno == ENOMEM);
	return 0;
}
static int size(void *p)
{
	static char b[10000];
	(void)p;
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){15000, 15000});
	signal(SIGXFSZ, SIG_IGN);
	int fd = open("f", O_CREAT | O_WRONLY | O_TRUNC, 0600);
	SHOW(write(fd, b, 10000));
	SHOW(write(fd, b, 10000));
	SHOW(write(fd, b, 1));
	SHOW(ftruncate(fd, 20000));
	signal(SIGXFSZ, SIG_DFL);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	write(fd, b, 1);
	return 1;
}
static volatile int sink;
static int __attribute__((noinline)) deeper(int n) { volatile char b[4096]; b[0] = n; return n > 2000 ? 0 : deeper(n + 1) + b[0]; }
static int stack(void *p)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	setrlimit(RLIMIT_STACK, &(struct rlimit){(long)p, (long)p});
	sink = deeper(0);
	return 7;
}
int main(void)
{
	reap("cpu soft", spawn(cpu, (void *)10));
	reap("cpu hard", spawn(killed, NULL));
	reap("space", spawn(space, NULL));
	reap("size", spawn(size, NULL));
	reap("small stack", spawn(stack, (void *)(1L << 20)));
	reap("large stack", spawn(stack, (void *)(64L << 20)));
	struct rlimit r, old;
	SHOW(getrlimit(RLIMIT_MEMLOCK, &r));
	SHOW(setrlimit(RLIMIT_NPROC, &(struct rlimit){2000, 2000}));
	SHOW(prlimit(0, RLIMIT_NPROC, NULL, &r));
	SHOW(r.rlim_cur);
	r.rlim_cur = 3000;
	SHOW(setrlimit(RLIMIT_NPROC, &r));
	pid_t c = MUST(fork());
	if (c == 0) {
		pause();
		_exit(0);
	}
	SHOW(prlimit(c, RLIMIT_NOFILE, &(struct rlimit){33, 44}, &old));
	SHOW(prlimit(c, RLIMIT_NOFILE, NULL, &r));
	printf("%ld %ld\n", (long)r.rlim_cur, (long)r.rlim_max);
	SHOW(setrlimit(99, &r));
	SHOW(prlimit(99999999, RLIMIT_CPU, NULL, &r));
	kill(c, SIGKILL), reap("child", c);
	unlink("f");
	return 0;
}
