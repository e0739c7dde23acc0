/* Handlers on an alternate stack, for an overflowing stack too; siglongjmp out of them; nested signals; SA_NODEFER, SA_RESETHAND. */
#include "victim.h"
#include <setjmp.h>
static sigjmp_buf back;
static char stack[1 << 16];
static volatile int depth, deepest, calls, on_stack;
static int on_alt(void) { char here; return (uintptr_t)(&here - stack) < sizeof stack; }
static void overflow(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; on_stack = on_alt(); siglongjmp(back, 1); }
static void nested(int s, siginfo_t *i, void *c)
{
	(void)i, (void)c;
	if (++depth > deepest)
		deepest = depth;
	if (++calls < 4)
		raise(s);
	depth--;
}
static void once(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; on_stack = on_alt(); }
static volatile int sink;
static int __attribute__((noinline)) deeper(int n) { volatile char big[4096]; big[0] = n; return deeper(n + 1) + big[0]; }
int main(void)
{
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack}, old;
	SHOW(sigaltstack(&ss, NULL));
	setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20});
	handle(SIGSEGV, overflow, SA_ONSTACK);
	for (int i = 0; i < 3; i++)
		if (sigsetjmp(back, 1) == 0)
			sink = deeper(0);
	printf("overflow handled on alternate stack: %d\n", on_stack);
	SHOW(sigaltstack(NULL, &old));
	printf("flags %d\n", old.ss_flags);
	handle(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
	printf("deepest with SA_NODEFER: %d\n", deepest);
	deepest = depth = calls = 0;
	handle(SIGUSR1, nested, 0);
	raise(SIGUSR1);
	printf("deepest without: %d\n", deepest);
	handle(SIGUSR2, once, SA_RESETHAND | SA_ONSTACK);
	on_stack = 0;
	raise(SIGUSR2);
	struct sigaction sa;
	sigaction(SIGUSR2, NULL, &sa);
	printf("reset %d on stack %d\n", sa.sa_handler == SIG_DFL, on_stack);
	ss.ss_size = 100;
	SHOW(sigaltstack(&ss, NULL));
	ss.ss_flags = SS_DISABLE;
	SHOW(sigaltstack(&ss, NULL));
	SHOW(syscall(SYS_rt_sigaction, SIGKILL, &sa, NULL, 8));
	SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
	SHOW(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8));
	SHOW(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
	SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8));
	return 0;
}
