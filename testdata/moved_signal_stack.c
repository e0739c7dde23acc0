/* Alternate signal stacks: set, in use for a long time, disarmed while in use, nested handlers, and left by siglongjmp. */
#include "victim.h"
#include <setjmp.h>
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
static __thread char *base;
static __thread volatile int depth;
static __thread sigjmp_buf out;
enum { SIZE = 256 * 1024 };
static int on_it(void *p) { return (char *)p >= base && (char *)p < base + SIZE; }
static void spend(int ms)
{
	double t = now();
	while (now() - t < ms / 1e3)
		for (volatile int i = 0; i < 10000; i++)
			;
}
static void hit(int s, siginfo_t *i, void *c)
{
	char here;
	stack_t st;
	ucontext_t *u = c;
	(void)i;
	EXPECT(on_it(&here));
	MUST(sigaltstack(NULL, &st));
	SAME(st.ss_flags, SS_ONSTACK);
	EXPECT(st.ss_sp == base && st.ss_size == SIZE);
	EXPECT(u->uc_stack.ss_sp == base && u->uc_stack.ss_size == SIZE);
	if (++depth < 6)
		raise(s == SIGUSR1 ? SIGUSR2 : SIGUSR1);
	spend(10);
	GAVE(sigaltstack(&st, NULL), -1, EPERM);
	EXPECT(on_it(&here));
	if (--depth == 0 && s == SIGUSR2)
		siglongjmp(out, 1);
}
static void disarmed(int s, siginfo_t *i, void *c)
{
	char here;
	stack_t st;
	(void)s, (void)i, (void)c;
	EXPECT(on_it(&here));
	MUST(sigaltstack(NULL, &st));
	SAME(st.ss_flags, SS_DISABLE);
	spend(10);
}
static void *thread(void *p)
{
	stack_t st = {.ss_sp = base = malloc(SIZE), .ss_size = SIZE}, got;
	MUST(sigaltstack(&st, NULL));
	while (going()) {
		raise(SIGUSR1);
		if (sigsetjmp(out, 1) == 0)
			raise(SIGUSR2);
		SAME(depth, 0);
		MUST(sigaltstack(NULL, &got));
		SAME(got.ss_flags, 0);
		spend(5);
		EXPECT(got.ss_sp == base && got.ss_size == SIZE);
		st.ss_flags = SS_AUTODISARM;
		MUST(sigaltstack(&st, NULL));
		raise(SIGHUP);
		MUST(sigaltstack(NULL, &got));
		SAME((unsigned)got.ss_flags, SS_AUTODISARM);
		EXPECT(got.ss_sp == base && got.ss_size == SIZE);
		st.ss_flags = 0;
		MUST(sigaltstack(&st, NULL));
	}
	return NULL;
}
int main(void)
{
	handle(SIGUSR1, hit, SA_ONSTACK | SA_NODEFER), handle(SIGUSR2, hit, SA_ONSTACK | SA_NODEFER), handle(SIGHUP, disarmed, SA_ONSTACK);
	threads(3, thread);
	return held("alternate stacks");
}
