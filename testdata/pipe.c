/* Pipes: order, end of file, EPIPE, capacity, atomic small writes. */
#include "victim.h"
int main(void)
{
	int p[2];
	char buf[256];
	MUST(pipe(p));
	SHOW(write(p[1], "one", 3));
	SHOW(write(p[1], "two", 3));
	SHOW(read(p[0], buf, 4));
	printf("%.4s\n", buf);
	SHOW(read(p[0], buf, sizeof buf));
	close(p[1]);
	SHOW(read(p[0], buf, 1));
	close(p[0]);
	MUST(pipe2(p, O_NONBLOCK | O_CLOEXEC));
	SHOW(fcntl(p[0], F_GETFD));
	SHOW(fcntl(p[1], F_GETFL) & O_NONBLOCK);
	SHOW(read(p[0], buf, 1));
	long total = 0, n;
	static char big[65536];
	while ((n = write(p[1], big, sizeof big)) > 0)
		total += n;
	printf("full at %ld\n", total);
	SHOW(write(p[1], "x", 1));
	SHOW(fcntl(p[1], F_SETPIPE_SZ, 4096));
	signal(SIGPIPE, SIG_IGN);
	close(p[0]);
	SHOW(write(p[1], "x", 1));
	return 0;
}
