/* Waiting in accept, connect and recv, with SO_RCVTIMEO; connections that come, refuse, or must wait for room. */
#include "victim.h"
#include <netinet/in.h>
#include <sys/un.h>
static int listener, crowded;
static struct sockaddr_in where;
static struct sockaddr_un queue;
static volatile int stop, last, connected;
static int tcp(void) { return MUST(socket(AF_INET, SOCK_STREAM, 0)); }
static void *thread(void *p)
{
	int s, a, ends[2];
	char b[64];
	do {
		switch ((long)p) {
		case 0:
			a = MUST(accept4(listener, NULL, NULL, SOCK_CLOEXEC)); /* waits */
			SAME(recv(a, b, sizeof b, 0), 5);
			wait_ms(20);
			MUST(send(a, "reply", 5, 0));
			stop = b[0] == 'l';
			SAME(recv(a, b, sizeof b, 0), 0);
			close(a);
			break;
		case 1:
			wait_ms(30);
			s = tcp();
			MUST(connect(s, (void *)&where, sizeof where));
			wait_ms(20);
			last = !going();
			MUST(send(s, last ? "later" : "hello", 5, 0));
			SAME(recv(s, b, sizeof b, 0), 5);
			close(s);
			break;
		case 2: {
			struct timeval t = {0, 120000};
			MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
			MUST(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
			double began = now();
			GAVE(recv(ends[0], b, 1, 0), -1, EAGAIN);
			EXPECT(now() - began > 0.1 && now() - began < 0.12 + SLACK); /* the kernel counts in ticks */
			close(ends[0]), close(ends[1]);
			break;
		}
		case 3: { /* the queue of that listener is full: connect waits for room */
			s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
			MUST(connect(s, (void *)&queue, sizeof queue));
			close(s);
			break;
		}
		case 4: {
			struct pollfd f = {crowded, POLLIN, 0};
			wait_ms(25);
			if (poll(&f, 1, 20) == 1)
				close(MUST(accept(crowded, NULL, NULL)));
			break;
		}
		case 5:
			s = tcp();
			struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
			GAVE(connect(s, (void *)&nobody, sizeof nobody), -1, ECONNREFUSED);
			close(s);
			wait_ms(3);
		}
	} while ((long)p == 0 ? !stop : (long)p == 1 ? !last : (long)p == 4 ? !connected : going());
	if ((long)p == 3)
		connected = 1;
	return NULL;
}
int main(void)
{
	socklen_t l = sizeof where;
	listener = tcp();
	where = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	MUST(bind(listener, (void *)&where, l)), MUST(getsockname(listener, (void *)&where, &l)), MUST(listen(listener, 8));
	crowded = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	queue.sun_family = AF_UNIX;
	snprintf(queue.sun_path + 1, sizeof queue.sun_path - 1, "victim.%d", getpid());
	MUST(bind(crowded, (void *)&queue, sizeof queue)), MUST(listen(crowded, 0));
	threads(6, thread);
	return held("waiting for sockets");
}
