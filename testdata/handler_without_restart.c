/* A handler without SA_RESTART beside calls that never give EINTR: pipe, fork, close and the rest are made all the same. */
#include "victim.h"
static void hit(int s) { (void)s; }
int main(void)
{
	struct sigaction sa = {.sa_handler = hit};
	MUST(sigaction(SIGCHLD, &sa, NULL));
	int failed = 0, rounds = 0;
	for (; rounds < 300 && !failed; rounds++) {
		int p[2], st;
		failed += pipe(p) < 0;
		pid_t c = fork();
		failed += c < 0;
		if (c == 0) {
			close(p[0]);
			_exit(0);
		}
		failed += close(p[1]) < 0;
		char b;
		ssize_t n;
		while ((n = read(p[0], &b, 1)) < 0 && errno == EINTR)
			;
		failed += n != 0;
		failed += close(p[0]) < 0;
		while (waitpid(c, &st, 0) < 0)
			if (errno != EINTR) {
				failed++;
				break;
			}
	}
	printf("rounds %d, failed %d, next descriptor %d\n", rounds, failed, dup(0));
	return 0;
}
