/* TCP and UDP over loopback: a server thread and clients, names of sockets, options, refusal, urgent data, non-blocking connect. */
#include "victim.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
static int l;
static void *serves(void *p)
{
	for (int i = 0; i < 5; i++) {
		char b[5000];
		int c = MUST(accept(l, NULL, NULL));
		for (long n; (n = recv(c, b, sizeof b, 0)) > 0;)
			for (long at = 0; at < n;)
				at += MUST(send(c, b + at, n - at, 0));
		close(c);
	}
	return p;
}
int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, b;
	socklen_t n = sizeof b;
	l = MUST(socket(AF_INET, SOCK_STREAM, 0));
	int on = 1;
	SHOW(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	SHOW(bind(l, (void *)&a, sizeof a));
	SHOW(getsockname(l, (void *)&a, &n));
	TRUE(a.sin_port != 0 && n == sizeof a);
	SHOW(listen(l, 10));
	pthread_t t;
	pthread_create(&t, NULL, serves, NULL);
	static char out[100000], in[100000];
	for (unsigned i = 0; i < sizeof out; i++)
		out[i] = i * 13;
	for (int i = 0; i < 5; i++) {
		int s = MUST(socket(AF_INET, SOCK_STREAM | (i == 4 ? SOCK_NONBLOCK : 0), 0));
		int r = connect(s, (void *)&a, sizeof a);
		if (i == 4) {
			TRUE(r == -1 && errno == EINPROGRESS);
			struct pollfd p = {s, POLLOUT, 0};
			SHOW(poll(&p, 1, 2000));
			int e;
			n = sizeof e;
			SHOW(getsockopt(s, SOL_SOCKET, SO_ERROR, &e, &n));
			SHOW(e);
			fcntl(s, F_SETFL, 0);
		}
		SHOW(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
		n = sizeof b;
		SHOW(getpeername(s, (void *)&b, &n));
		TRUE(b.sin_port == a.sin_port);
		pid_t c = MUST(fork());
		if (c == 0) {
			for (size_t at = 0; at < sizeof out;)
				at += MUST(send(s, out + at, sizeof out - at, 0));
			shutdown(s, SHUT_WR);
			_exit(0);
		}
		SHOW(recv(s, in, sizeof in, MSG_WAITALL));
		TRUE(memcmp(in, out, sizeof in) == 0);
		SHOW(recv(s, in, 1, 0));
		waitpid(c, NULL, 0);
		close(s);
	}
	pthread_join(t, NULL);
	close(l);
	SHOW(connect(MUST(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a));
	int u = MUST(socket(AF_INET, SOCK_DGRAM, 0)), w = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	a.sin_port = 0;
	SHOW(bind(u, (void *)&a, sizeof a));
	n = sizeof a;
	SHOW(getsockname(u, (void *)&a, &n));
	SHOW(sendto(w, "datagram", 8, 0, (void *)&a, sizeof a));
	n = sizeof b;
	SHOW(recvfrom(u, in, 100, 0, (void *)&b, &n));
	TRUE(n == sizeof b && b.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	SHOW(sendto(u, "back", 4, 0, (void *)&b, n));
	SHOW(recv(w, in, 100, 0));
	struct timeval tv = {0, 30000};
	SHOW(setsockopt(w, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	SHOW(recv(w, in, 100, 0));
	SHOW(send(w, "x", 1, 0));
	static char huge[70000];
	SHOW(sendto(w, huge, sizeof huge, 0, (void *)&a, sizeof a));
	int six = socket(AF_INET6, SOCK_STREAM, 0);
	printf("IPv6 %s\n", six >= 0 ? "there" : strerrorname_np(errno));
	SHOW(socket(99, SOCK_STREAM, 0));
	SHOW(socket(AF_INET, SOCK_STREAM, 77));
	SHOW(listen(0, 1));
	return 0;
}
