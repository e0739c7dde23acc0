/* What system calls, signals, threads and forks must leave alone: AVX and x87 state, flags, callee-saved and red-zone memory.
 * oracle: cflags -mavx */
#include "victim.h"
#include <fenv.h>
#include <immintrin.h>
static volatile int hits;
static void clobbers(int s, siginfo_t *i, void *c)
{
	(void)s, (void)i, (void)c;
	__m256 z = _mm256_set1_ps(-1);
	__asm__ volatile("" ::"x"(z));
	hits++;
}
static int same(__m256i v[8], __m256i w[8]) { return memcmp(v, w, 8 * sizeof v[0]) == 0; }
static int survives(long nr, long a, long b, long c)
{
	__m256i v[8], w[8];
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < 8; k++)
			((int *)&v[i])[k] = i * 1000 + k * 7 + (int)nr;
	long rbx, r12, r13, r14, ret;
	__asm__ volatile("vmovdqu 0(%[v]),%%ymm0; vmovdqu 32(%[v]),%%ymm1; vmovdqu 64(%[v]),%%ymm2; vmovdqu 96(%[v]),%%ymm3;"
	                 "vmovdqu 128(%[v]),%%ymm4; vmovdqu 160(%[v]),%%ymm5; vmovdqu 192(%[v]),%%ymm14; vmovdqu 224(%[v]),%%ymm15;"
	                 "mov $0x1111,%%rbx; mov $0x2222,%%r12; mov $0x3333,%%r13; mov $0x4444,%%r14;"
	                 "syscall;"
	                 "vmovdqu %%ymm0,0(%[w]); vmovdqu %%ymm1,32(%[w]); vmovdqu %%ymm2,64(%[w]); vmovdqu %%ymm3,96(%[w]);"
	                 "vmovdqu %%ymm4,128(%[w]); vmovdqu %%ymm5,160(%[w]); vmovdqu %%ymm14,192(%[w]); vmovdqu %%ymm15,224(%[w]);"
	                 : "=a"(ret), "=&b"(rbx), [r12] "=m"(r12), [r13] "=m"(r13), [r14] "=m"(r14)
	                 : "a"(nr), "D"(a), "S"(b), "d"(c), [v] "r"((void *)v), [w] "r"((void *)w)
	                 : "rcx", "r11", "r12", "r13", "r14", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm14", "xmm15");
	return same(v, w) && rbx == 0x1111;
}
static void *thread(void *p)
{
	int ok = 1;
	(void)p;
	for (int i = 0; i < 50; i++)
		ok &= survives(SYS_getppid, 0, 0, 0) && survives(SYS_sched_yield, 0, 0, 0);
	return (void *)(long)ok;
}
int main(void)
{
	char buf[8];
	int fds[2];
	MUST(pipe(fds));
	TRUE(survives(SYS_getpid, 0, 0, 0));
	TRUE(survives(SYS_getppid, 0, 0, 0));
	TRUE(survives(SYS_write, fds[1], (long)"x", 1));
	TRUE(survives(SYS_read, fds[0], (long)buf, 1));
	TRUE(survives(SYS_mmap, 0, 4096, 3));
	handle(SIGUSR1, clobbers, 0);
	TRUE(survives(SYS_kill, getpid(), SIGUSR1, 0) && hits == 1);
	struct timespec t = {0, 30000000};
	pid_t c = later(SIGUSR1, 10);
	TRUE(survives(SYS_nanosleep, (long)&t, 0, 0) && hits == 2);
	waitpid(c, NULL, 0);
	fesetround(FE_UPWARD);
	volatile double x = 1, y = 3;
	double up = x / y;
	getppid();
	TRUE(x / y == up && fegetround() == FE_UPWARD);
	pid_t p = MUST(fork());
	if (p == 0)
		_exit(fegetround() == FE_UPWARD && survives(SYS_getppid, 0, 0, 0) ? 5 : 6);
	reap("child", p);
	fesetround(FE_TONEAREST);
	TRUE(x / y != up);
	pthread_t th[2];
	void *r[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, thread, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(th[i], &r[i]);
	TRUE(r[0] && r[1]);
	unsigned long fs = 0;
	SHOW(syscall(SYS_arch_prctl, 0x1003, &fs));
	TRUE(fs == (unsigned long)pthread_self());
	unsigned long gs = 0x12345000;
	SHOW(syscall(SYS_arch_prctl, 0x1001, gs));
	getppid();
	unsigned long got = 0;
	SHOW(syscall(SYS_arch_prctl, 0x1004, &got));
	TRUE(got == gs);
	p = MUST(fork());
	if (p == 0) {
		syscall(SYS_arch_prctl, 0x1004, &got);
		_exit(got == gs);
	}
	reap("child keeps gs", p);
	return 0;
}
