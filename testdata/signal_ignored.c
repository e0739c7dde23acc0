/* Ignored and default-ignored signals do not disturb a blocking call, not even for an instant. */
#include "victim.h"
int main(void)
{
	int p[2];
	char b;
	MUST(pipe(p));
	signal(SIGUSR1, SIG_IGN);
	pid_t me = getpid(), c = MUST(fork());
	if (c == 0) {
		int sigs[] = {SIGUSR1, SIGWINCH, SIGURG, SIGCHLD, SIGCONT};
		for (int i = 0; i < 5; i++)
			wait_ms(10), kill(me, sigs[i]);
		wait_ms(10);
		MUST(write(p[1], "x", 1));
		_exit(0);
	}
	SHOW(read(p[0], &b, 1));
	reap("child", c);
	c = MUST(fork());
	if (c == 0) {
		wait_ms(20);
		kill(me, SIGUSR1), kill(me, SIGWINCH);
		_exit(0);
	}
	struct timespec t = {0, 60000000};
	double began = now();
	SHOW(nanosleep(&t, NULL));
	TRUE(now() - began >= 0.06);
	struct pollfd pf = {p[0], POLLIN, 0};
	waitpid(c, NULL, 0);
	c = later(SIGUSR1, 20);
	SHOW(poll(&pf, 1, 60));
	waitpid(c, NULL, 0);
	c = later(SIGCONT, 20);
	SHOW(poll(&pf, 1, 60));
	waitpid(c, NULL, 0);
	return 0;
}
