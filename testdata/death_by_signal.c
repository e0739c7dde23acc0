/* A child dies of each signal whose default is to kill; the parent sees which, and whether core was dumped (it is not: limit 0). */
#include "victim.h"
static int die(void *p)
{
	int sig = *(int *)p;
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	kill(getpid(), sig);
	wait_ms(1000);
	return 1;
}
int main(void)
{
	for (int sig = 1; sig < NSIG; sig++) {
		if (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH || sig == SIGSTOP || sig == SIGTSTP ||
		    sig == SIGTTIN || sig == SIGTTOU || sig == 32 || sig == 33)
			continue;
		int st;
		MUST(waitpid(spawn(die, &sig), &st, 0));
		printf("%d: signaled %d by %d core %d\n", sig, WIFSIGNALED(st), WTERMSIG(st), WCOREDUMP(st) != 0);
	}
	return 0;
}
