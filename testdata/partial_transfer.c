/* Blocking transfers are whole although ignored signals and ends of children fall into them: MSG_WAITALL, large writes to pipes and sockets.
 * oracle: still a transfer that is under way when its program comes home may return with a part */
#include "victim.h"
static int ends(void *p) { (void)p; return 0; }
static long total;
static void drain(int fd, int ms)
{
	char b[4096];
	for (long n; (n = read(fd, b, sizeof b)) > 0; total += n)
		if (total % (1 << 16) < 4096)
			wait_ms(ms);
}
int main(void)
{
	static char big[400000];
	int s[2], p[2];
	signal(SIGUSR1, SIG_IGN);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t me = getpid(), c = MUST(fork());
	if (c == 0) {
		for (int i = 0; i < 40; i++) {
			MUST(send(s[0], big, 10000, 0));
			wait_ms(2);
			kill(me, i % 2 ? SIGUSR1 : SIGWINCH);
		}
		_exit(0);
	}
	for (int i = 0; i < 5; i++)
		spawn(ends, NULL);
	SHOW(recv(s[1], big, sizeof big, MSG_WAITALL));
	MUST(pipe(p));
	c = MUST(fork());
	if (c == 0) {
		close(p[1]);
		drain(p[0], 5);
		_exit(total == sizeof big);
	}
	pid_t k = MUST(fork());
	if (k == 0) {
		for (int i = 0; i < 20; i++)
			wait_ms(2), kill(me, SIGUSR1);
		_exit(0);
	}
	SHOW(write(p[1], big, sizeof big));
	close(p[1]);
	reap("reader", c);
	c = MUST(fork());
	if (c == 0) {
		close(s[0]);
		drain(s[1], 5);
		_exit(total == sizeof big);
	}
	close(s[1]);
	SHOW(send(s[0], big, sizeof big, 0));
	close(s[0]);
	reap("reader", c);
	return 0;
}
