/* A thousand children that end at once, waited for by number, by wait, by waitid and in a handler: each is seen exactly once. */
#include "victim.h"
static volatile int handled, lost;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)s, (void)i, (void)c;
	int e = errno;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		handled++;
	errno = e;
}
static void nothing(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
static int ends(void *p) { return (long)p; }
int main(void)
{
	int wrong[4] = {0}, st;
	for (int k = 0; k < 4; k++) {
		if (k == 2)
			handle(SIGCHLD, nothing, SA_RESTART);
		for (long i = 0; i < 150; i++) {
			pid_t c = spawn(ends, (void *)i), r;
			siginfo_t si = {0};
			if (k == 0 || k == 2)
				r = waitpid(c, &st, 0);
			else if (k == 1)
				r = wait(&st);
			else
				r = waitid(P_PID, c, &si, WEXITED) == 0 ? si.si_pid : -1, st = si.si_status << 8;
			wrong[k] += r != c || WEXITSTATUS(st) != i;
		}
	}
	printf("wrong: %d %d %d %d\n", wrong[0], wrong[1], wrong[2], wrong[3]);
	handle(SIGCHLD, hit, SA_RESTART | SA_NOCLDSTOP);
	for (int i = 0; i < 150; i++)
		spawn(ends, NULL);
	for (int i = 0; i < 5000 && handled < 150; i++)
		wait_ms(1);
	printf("handled %d\n", handled);
	SHOW(wait(NULL));
	return 0;
}
