/* The stack grows by itself wherever it is, to its limit and not further, and what was on it is still there. */
#include "victim.h"
#include <setjmp.h>
static sigjmp_buf out;
static char *guard;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)c;
	SAME(s, SIGSEGV);
	guard = i->si_addr;
	siglongjmp(out, 1);
}
static int __attribute__((noinline)) deep(int levels, unsigned long seed)
{
	volatile unsigned long mine[256];
	for (int i = 0; i < 256; i++)
		mine[i] = seed + i * levels;
	int r = levels ? deep(levels - 1, seed * 3 + 1) : 1;
	for (int i = 0; i < 256; i++)
		SAME(mine[i], seed + i * levels);
	return r + 1;
}
static int __attribute__((noinline)) forever(char *top, int n)
{
	volatile char page[8192];
	page[0] = (char)n;
	int r = top - (char *)page < (8 << 20) ? forever(top, n + 1) : 0;
	return r + page[0];
}
static void *thread(void *p)
{
	stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
	MUST(sigaltstack(&st, NULL));
	do
		SAME(deep(150, (long)p), 152);
	while (going());
	return NULL;
}
static int child(void *p)
{
	static char alt[65536];
	stack_t st = {.ss_sp = alt, .ss_size = sizeof alt};
	char here;
	(void)p;
	MUST(sigaltstack(&st, NULL));
	handle(SIGSEGV, hit, SA_ONSTACK);
	wait_ms(20);
	if (sigsetjmp(out, 1) == 0)
		return forever(&here, 0) + 100;
	EXPECT(&here - guard > (3 << 20) && &here - guard < (4 << 20) + 65536);
	return victim_faults;
}
int main(void)
{
	struct rlimit l;
	MUST(getrlimit(RLIMIT_STACK, &l));
	l.rlim_cur = 4 << 20;
	MUST(setrlimit(RLIMIT_STACK, &l));
	for (int depth = 8;; depth = depth < 1200 ? depth * 5 / 4 : 8) { /* 2 KiB a level */
		SAME(deep(depth, depth), depth + 2);
		for (volatile long i = 0; i < 2000000; i++)
			;
		if (depth >= 1200) {
			if (!going())
				break;
			pid_t pid = spawn(child, NULL);
			int st;
			MUST(waitpid(pid, &st, 0));
			SAME(st, 0);
		}
	}
	threads(2, thread);
	return held("stack");
}
