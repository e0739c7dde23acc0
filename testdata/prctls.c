/* prctl: names, parent-death signal, dumpable, keep-caps, child subreaper, timer slack, no-new-privs; personality. */
#include "victim.h"
#include <sys/personality.h>
#include <sys/prctl.h>
static int *said;
static int orphan(void *p)
{
	(void)p;
	pid_t middle = getppid();
	while (getppid() == middle)
		wait_ms(1);
	*said = getppid();
	return 0;
}
static int middle(void *p)
{
	spawn(orphan, p);
	wait_ms(20);
	return 3;
}
static void death(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; *said = 99; }
static int dies_with_parent(void *p)
{
	(void)p;
	handle(SIGUSR1, death, 0);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	*said = 1;
	for (int i = 0; i < 2000 && *said == 1; i++)
		wait_ms(1);
	return 0;
}
static int parent_of_it(void *p)
{
	spawn(dies_with_parent, p);
	while (*(volatile int *)said != 1)
		wait_ms(1);
	return 0;
}
int main(void)
{
	said = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1));
	reap("middle", spawn(middle, NULL));
	while (*(volatile int *)said == 0)
		wait_ms(1);
	TRUE(*said == getpid());
	int st;
	SHOW(wait(&st) > 0 && WIFEXITED(st));
	reap("parent", spawn(parent_of_it, NULL));
	for (int i = 0; i < 2000 && *(volatile int *)said != 99; i++)
		wait_ms(1);
	SHOW(*said);
	SHOW(wait(&st) > 0 && WIFEXITED(st));
	int sig;
	SHOW(prctl(PR_SET_PDEATHSIG, SIGHUP));
	SHOW(prctl(PR_GET_PDEATHSIG, &sig));
	SHOW(sig);
	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_SET_DUMPABLE, 0));
	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_SET_DUMPABLE, 1));
	SHOW(prctl(PR_GET_KEEPCAPS));
	SHOW(prctl(PR_SET_TIMERSLACK, 60000));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_SECCOMP));
	SHOW(personality(0xffffffff));
	return 0;
}
