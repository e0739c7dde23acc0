/* poll and select: readiness, hang-up, errors, invalid descriptors, large sets, timeouts of zero. */
#include "victim.h"
int main(void)
{
	int p[2], s[2];
	MUST(pipe(p));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	struct pollfd f[5] = {{p[0], POLLIN, 9}, {p[1], POLLOUT, 9}, {-1, POLLIN, 9}, {777, POLLIN, 9}, {s[0], POLLIN | POLLOUT, 9}};
#define POLL(n, ms)                                              \
	SHOW(poll(f, n, ms));                                        \
	for (int i = 0; i < (n); i++)                                \
		printf("%x ", f[i].revents);                             \
	printf("\n");
	POLL(5, 0);
	MUST(write(p[1], "x", 1));
	close(s[1]);
	POLL(5, 1000);
	close(p[1]);
	f[1].fd = -5;
	POLL(1, 100);
	char b;
	MUST(read(p[0], &b, 1));
	POLL(1, 100);
	close(p[0]);
	POLL(1, 0);
	fd_set r, w;
	MUST(pipe(p));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	struct timeval t = {0, 0};
	SHOW(select(p[1] + 1, &r, &w, NULL, &t));
	printf("%d %d\n", FD_ISSET(p[0], &r) != 0, FD_ISSET(p[1], &w) != 0);
	FD_SET(900, &r);
	SHOW(select(901, &r, NULL, NULL, &t));
	SHOW(select(-1, NULL, NULL, NULL, &t));
	t.tv_usec = -1;
	SHOW(select(0, NULL, NULL, NULL, &t));
	SHOW(poll(f, 10000000, 0));
	static struct pollfd many[1000];
	for (int i = 0; i < 1000; i++)
		many[i] = (struct pollfd){p[1], POLLOUT, 0};
	SHOW(poll(many, 1000, 0));
	return 0;
}
