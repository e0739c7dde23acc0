/* What an epoll set waits for, with which data: level, edge, once; sets within sets; eventfd, timerfd, signalfd, pipes and sockets in it. */
#include "victim.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
static void expect(int ep, int n, const uint64_t *want)
{
	struct epoll_event ev[16];
	int got = MUST(epoll_wait(ep, ev, 16, 0));
	uint64_t a = 0, b = 0;
	for (int i = 0; i < got; i++)
		a += ev[i].data.u64 * (ev[i].events + 1);
	for (int i = 0; i < n; i++)
		b += want[2 * i] * (want[2 * i + 1] + 1);
	SAME(got, n), SAME(a, b);
}
int main(void)
{
	int ep = MUST(epoll_create1(0)), inner = MUST(epoll_create1(0)), p[2], s[2], q[2];
	MUST(pipe2(p, O_NONBLOCK)), MUST(pipe(q)), MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	int e = MUST(eventfd(0, EFD_NONBLOCK)), t = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	sigset_t usr;
	block(SIGUSR1, NULL);
	sigemptyset(&usr), sigaddset(&usr, SIGUSR1);
	int sf = MUST(signalfd(-1, &usr, SFD_NONBLOCK));
#define ADD(ep, fd, ev, n) MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ev, {.u64 = n}}))
	ADD(ep, p[0], EPOLLIN, 0x1111111111111111), ADD(ep, s[0], EPOLLIN | EPOLLET, 22), ADD(ep, e, EPOLLIN | EPOLLONESHOT, 33);
	ADD(ep, t, EPOLLIN, 44), ADD(ep, sf, EPOLLIN, 55), ADD(inner, q[0], EPOLLIN, 66), ADD(ep, inner, EPOLLIN, 77);
	uint64_t v;
	char b[256];
	do {
		expect(ep, 0, NULL);
		MUST(write(p[1], "x", 1));
		expect(ep, 1, (uint64_t[]){0x1111111111111111, EPOLLIN});
		wait_ms(2);
		expect(ep, 1, (uint64_t[]){0x1111111111111111, EPOLLIN});
		SAME(read(p[0], b, 9), 1);
		MUST(write(s[1], "y", 1));
		expect(ep, 1, (uint64_t[]){22, EPOLLIN});
		wait_ms(2);
		expect(ep, 0, NULL); /* an edge is told once, wherever one asks */
		SAME(read(s[0], b, 9), 1);
		v = 1;
		MUST(write(e, &v, 8));
		expect(ep, 1, (uint64_t[]){33, EPOLLIN});
		wait_ms(2);
		expect(ep, 0, NULL); /* disarmed */
		MUST(epoll_ctl(ep, EPOLL_CTL_MOD, e, &(struct epoll_event){EPOLLIN | EPOLLONESHOT, {.u64 = 33}}));
		expect(ep, 1, (uint64_t[]){33, EPOLLIN});
		SAME(read(e, &v, 8), 8), SAME(v, 1);
		MUST(epoll_ctl(ep, EPOLL_CTL_MOD, e, &(struct epoll_event){EPOLLIN | EPOLLONESHOT, {.u64 = 33}}));
		struct itimerspec soon = {{0, 0}, {0, 5000000}};
		MUST(timerfd_settime(t, 0, &soon, NULL));
		struct epoll_event ev[4];
		SAME(epoll_wait(ep, ev, 4, 20000), 1), SAME(ev[0].data.u64, 44);
		SAME(read(t, &v, 8), 8), SAME(v, 1);
		MUST(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 99}));
		SAME(epoll_wait(ep, ev, 4, 20000), 1), SAME(ev[0].data.u64, 55);
		struct signalfd_siginfo si;
		SAME(read(sf, &si, sizeof si), sizeof si), SAME(si.ssi_int, 99);
		MUST(write(q[1], "z", 1));
		expect(ep, 1, (uint64_t[]){77, EPOLLIN}), expect(inner, 1, (uint64_t[]){66, EPOLLIN});
		SAME(read(q[0], b, 9), 1);
		GAVE(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &(struct epoll_event){0}), -1, EEXIST);
	} while (going());
	return held("epoll");
}
