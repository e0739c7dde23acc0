/* A signal that was sent before something else happened is there before the program can know of that: handlers have run, the dead are silent. */
#include "victim.h"
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; hits++; }
static void compute(void)
{
	for (volatile int i = 0; i < 20000; i++)
		;
}
int main(void)
{
	enum { ROUNDS = 200 };
	int data[2], back[2];
	MUST(pipe(data)), MUST(pipe(back));
	handle(SIGUSR1, hit, SA_RESTART);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		char b;
		int late = 0;
		for (int i = 1; i <= ROUNDS; i++) {
			for (int k = 0; k < 20; k++)
				compute(); /* the signal comes here, or in read */
			MUST(read(data[0], &b, 1));
			late += hits != i;
			MUST(write(back[1], &b, 1));
		}
		_exit(late != 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		char b = 0;
		MUST(kill(pid, SIGUSR1));
		MUST(write(data[1], &b, 1));
		MUST(read(back[0], &b, 1));
	}
	reap("handler", pid);
	int alive = 0;
	for (int i = 0; i < ROUNDS / 10; i++) {
		char b = 0;
		pid = MUST(fork());
		if (pid == 0) {
			MUST(write(back[1], &b, 1));
			for (int k = 0; k < 20; k++)
				compute();
			MUST(read(data[0], &b, 1));
			b = 1;
			MUST(write(back[1], &b, 1));
			_exit(0);
		}
		MUST(read(back[0], &b, 1));
		MUST(kill(pid, SIGTERM));
		MUST(write(data[1], &b, 1));
		int st;
		MUST(waitpid(pid, &st, 0));
		struct pollfd p = {back[0], POLLIN, 0};
		alive += !WIFSIGNALED(st) || poll(&p, 1, 0) != 0;
		p = (struct pollfd){data[0], POLLIN, 0};
		if (poll(&p, 1, 0) == 1)
			MUST(read(data[0], &b, 1));
	}
	SHOW(alive);
	return 0;
}
