/* TCP connections in the middle of a transfer, both ends in processes that are moved: bytes in both directions, urgent data, options,
 * half-closed ends, unread data, and connections that are made meanwhile. */
#include "victim.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
static struct sockaddr_in where;
static unsigned char byte(unsigned long i) { return (i * 2246822519u) >> 11; }
static void pump(int s, unsigned seed)
{
	unsigned char b[20000], c[20000];
	unsigned long out = 0, in = 0, x = seed;
	int open_ = 1, ended = 0;
	MUST(fcntl(s, F_SETFL, O_NONBLOCK));
	while (!ended || open_) {
		struct pollfd p = {s, (ended ? 0 : POLLIN) | (open_ ? POLLOUT : 0), 0};
		MUST(poll(&p, 1, -1));
		if (p.revents & (POLLIN | POLLHUP)) {
			long n = recv(s, c, 1 + (x >> 50), 0);
			if (n == 0)
				ended = 1;
			else if (n < 0)
				SAME(errno, EAGAIN);
			for (long i = 0; i < n; i++, in++)
				if (c[i] != byte(in)) {
					SAME(in, -1);
					_exit(1);
				}
		}
		if (open_ && p.revents & POLLOUT) {
			x = x * 6364136223846793005UL + 1;
			long n = 1 + (x >> 40) % sizeof b;
			for (long i = 0; i < n; i++)
				b[i] = byte(out + i);
			n = send(s, b, n, MSG_NOSIGNAL);
			if (n < 0)
				SAME(errno, EAGAIN);
			else
				out += n;
			if (!going())
				MUST(shutdown(s, SHUT_WR)), open_ = 0;
		}
	}
	EXPECT(in > 10000 && out > 10000);
}
static int client(void *p)
{
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), quiet = MUST(socket(AF_INET, SOCK_STREAM, 0)), v = 1;
	socklen_t l = sizeof v;
	(void)p;
	MUST(connect(quiet, (void *)&where, sizeof where));
	MUST(send(quiet, "unread data", 11, 0));
	MUST(send(quiet, "!", 1, MSG_OOB));
	MUST(shutdown(quiet, SHUT_WR));
	MUST(connect(s, (void *)&where, sizeof where));
	MUST(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, sizeof v));
	MUST(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){7, 0}, sizeof(struct timeval)));
	pump(s, 5);
	MUST(getsockopt(s, IPPROTO_TCP, TCP_NODELAY, &v, &l));
	SAME(v, 1);
	struct timeval tv;
	l = sizeof tv;
	MUST(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &l));
	SAME(tv.tv_sec, 7);
	return victim_faults;
}
static int listener;
static void *short_ones(void *p) /* connections that live for one exchange */
{
	(void)p;
	do {
		int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), a;
		char b[64] = "";
		struct sockaddr_in peer, mine;
		socklen_t l = sizeof peer;
		MUST(connect(s, (void *)&where, sizeof where));
		a = MUST(accept(listener, (void *)&peer, &l));
		MUST(getsockname(s, (void *)&mine, &l));
		SAME(peer.sin_port, mine.sin_port);
		MUST(send(s, "question", 8, 0));
		SAME(recv(a, b, 8, MSG_WAITALL), 8);
		MUST(send(a, "answer", 6, 0));
		close(a);
		SAME(recv(s, b, sizeof b, MSG_WAITALL), 6);
		EXPECT(!memcmp(b, "answer", 6));
		close(s);
	} while (going());
	return NULL;
}
int main(void)
{
	listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
	where = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t l = sizeof where;
	MUST(bind(listener, (void *)&where, l)), MUST(getsockname(listener, (void *)&where, &l)), MUST(listen(listener, 8));
	pid_t pid = spawn(client, NULL);
	int quiet = MUST(accept(listener, NULL, NULL)), s = MUST(accept(listener, NULL, NULL));
	pthread_t t;
	pthread_create(&t, NULL, short_ones, NULL);
	pump(s, 9);
	pthread_join(t, NULL);
	char b[32] = "";
	int n;
	MUST(ioctl(quiet, FIONREAD, &n));
	SAME(n, 11);
	SAME(recv(quiet, b, 1, MSG_OOB), 1), SAME(b[0], '!');
	SAME(recv(quiet, b, sizeof b, MSG_WAITALL), 11);
	EXPECT(!strncmp(b, "unread data", 11));
	close(quiet);
	reap("client", pid);
	return held("TCP");
}
