/* A process in nested handlers, with interrupted calls below: every frame returns to where it came from, with the registers and the
 * result that belong there. */
#include "victim.h"
static int pipes[2];
static volatile int depth, done;
static void hit(int s, siginfo_t *i, void *c)
{
	struct timespec t = {20, 0};
	sigset_t none;
	volatile unsigned long mine[64];
	(void)i, (void)c, (void)s;
	int level = ++depth;
	for (int k = 0; k < 64; k++)
		mine[k] = level * 1000 + k;
	if (level < 5) {
		later(SIGUSR1, 15); /* interrupts the call below, where a new handler runs */
		sigemptyset(&none);
		if (level % 2)
			GAVE(ppoll(NULL, 0, &t, &none), -1, EINTR);
		else
			GAVE(sigsuspend(&none), -1, EINTR);
	} else {
		burn(10);
		MUST(write(pipes[1], "x", 1));
	}
	for (int k = 0; k < 64; k++)
		SAME(mine[k], level * 1000 + k);
	depth--;
}
int main(void)
{
	char b;
	MUST(pipe(pipes));
	signal(SIGCHLD, SIG_IGN);
	handle(SIGUSR1, hit, SA_RESTART);
	while (going()) {
		later(SIGUSR1, 15);
		long r, rbx, r12;
		/* a read that restarts below five handlers */
		__asm__ volatile("mov $0x5151,%%rbx; mov $0x5252,%%r12; syscall; mov %%rbx,%1; mov %%r12,%2"
		                 : "=a"(r), "=m"(rbx), "=m"(r12)
		                 : "a"(SYS_read), "D"(pipes[0]), "S"(&b), "d"(1)
		                 : "rcx", "r11", "rbx", "r12", "memory");
		SAME(r, 1), SAME(rbx, 0x5151), SAME(r12, 0x5252), SAME(depth, 0), SAME(b, 'x');
	}
	return held("frames");
}
