/* epoll: level and edge triggered, one-shot, data kept, nested, with eventfd and timerfd, across fork, errors. */
#include "victim.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
static int ep;
static void add(int fd, unsigned ev, uint64_t data) { struct epoll_event e = {ev, {.u64 = data}}; SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)); }
static void wait_for(int ms)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, ms);
	printf("%d events", n);
	for (int i = 0; i < n; i++)
		printf(" %x/%lx", e[i].events, (unsigned long)e[i].data.u64);
	printf("\n");
}
int main(void)
{
	int p[2], ev = MUST(eventfd(3, EFD_NONBLOCK)), q[2];
	MUST(pipe(p)), MUST(pipe(q));
	ep = MUST(epoll_create1(EPOLL_CLOEXEC));
	add(p[0], EPOLLIN, 0x1122334455667788);
	wait_for(0);
	MUST(write(p[1], "ab", 2));
	wait_for(100), wait_for(100); /* level: again */
	char b[10];
	MUST(read(p[0], b, 10));
	wait_for(0);
	struct epoll_event e = {EPOLLIN | EPOLLET, {.u64 = 7}};
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	MUST(write(p[1], "ab", 2));
	wait_for(100), wait_for(0); /* edge: once */
	MUST(write(p[1], "c", 1));
	wait_for(100);
	e.events = EPOLLIN | EPOLLONESHOT;
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	wait_for(100), wait_for(0);
	close(p[1]);
	wait_for(0);
	e.events = EPOLLIN;
	SHOW(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
	wait_for(100);
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
	SHOW(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	SHOW(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
	SHOW(epoll_ctl(ep, 99, q[0], &e));
	int file = open("f", O_CREAT | O_RDWR, 0600);
	SHOW(epoll_ctl(ep, EPOLL_CTL_ADD, file, &e));
	add(ev, EPOLLIN, 5);
	wait_for(100);
	uint64_t v;
	SHOW(read(ev, &v, 8));
	SHOW(v);
	SHOW(read(ev, &v, 8));
	SHOW(read(ev, &v, 4));
	v = -1;
	SHOW(write(ev, &v, 8));
	pid_t c = MUST(fork());
	if (c == 0) {
		wait_ms(20);
		v = 42;
		MUST(write(ev, &v, 8));
		_exit(0);
	}
	wait_for(2000);
	SHOW(read(ev, &v, 8));
	SHOW(v);
	reap("child", c);
	int outer = ep, inner = MUST(epoll_create1(0));
	ep = inner;
	add(q[0], EPOLLIN, 1);
	ep = outer;
	add(inner, EPOLLIN, 2);
	MUST(write(q[1], "x", 1));
	wait_for(100);
	struct epoll_event none[1];
	SHOW(epoll_wait(ep, none, 0, 0));
	SHOW(epoll_wait(q[0], none, 1, 0));
	struct timespec t = {0, 10000000};
	close(q[0]), close(inner);
	SHOW(syscall(SYS_epoll_pwait2, ep, none, 1, &t, NULL, 8));
	return 0;
}
