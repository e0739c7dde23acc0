/* poll, select, epoll_wait and their kin: without an event they end when it is time, with one they tell it, and never anything else. */
#include "victim.h"
#include <sys/epoll.h>
static int never[2], ticks[6][2];
static void *thread(void *p)
{
	long k = (long)p;
	struct timespec t = {0, 150000000};
	struct timeval tv;
	sigset_t none;
	fd_set r;
	struct epoll_event ev;
	int ep = MUST(epoll_create1(0));
	sigemptyset(&none);
	MUST(epoll_ctl(ep, EPOLL_CTL_ADD, k < 6 ? never[0] : ticks[k - 6][0], &(struct epoll_event){EPOLLIN, {.fd = 7}}));
	do {
		int fd = k < 6 ? never[0] : ticks[k - 6][0];
		struct pollfd f = {fd, POLLIN, 9};
		FD_ZERO(&r);
		FD_SET(fd, &r);
		tv = (struct timeval){0, 150000};
		switch (k) {
		case 0: TIMED(0.15, poll(&f, 1, 150), 0, 0); break;
		case 1: TIMED(0.15, ppoll(&f, 1, &t, &none), 0, 0); break;
		case 2: TIMED(0.15, select(fd + 1, &r, NULL, NULL, &tv), 0, 0); break;
		case 3: TIMED(0.15, pselect(fd + 1, &r, NULL, NULL, &t, &none), 0, 0); break;
		case 4: TIMED(0.15, epoll_wait(ep, &ev, 1, 150), 0, 0); break;
		case 5: TIMED(0.15, syscall(SYS_epoll_pwait2, ep, &ev, 1, &t, &none, 8), 0, 0); break;
		case 6: GAVE(poll(&f, 1, -1), 1, 0); break;
		case 7: t.tv_sec = 90, GAVE(ppoll(&f, 1, &t, NULL), 1, 0), SAME(f.revents, POLLIN); break;
		case 8: tv.tv_sec = 90, GAVE(select(fd + 1, &r, NULL, NULL, &tv), 1, 0), SAME(FD_ISSET(fd, &r) != 0, 1); break;
		case 9: GAVE(pselect(fd + 1, &r, NULL, NULL, NULL, &none), 1, 0), SAME(FD_ISSET(fd, &r) != 0, 1); break;
		case 10: GAVE(epoll_wait(ep, &ev, 1, -1), 1, 0), SAME(ev.data.fd, 7), SAME(ev.events, EPOLLIN); break;
		case 11: GAVE(epoll_pwait(ep, &ev, 1, 90000, &none), 1, 0), SAME(ev.data.fd, 7), SAME(ev.events, EPOLLIN); break;
		}
		if (k < 6) {
			SAME(k == 0 || k == 1 ? f.revents : 0, 0);
			SAME(k == 2 || k == 3 ? FD_ISSET(fd, &r) : 0, 0);
		} else {
			char b[9];
			if (k == 6)
				SAME(f.revents, POLLIN);
			SAME(read(fd, b, sizeof b), 1);
			if (b[0] == 'e')
				return NULL;
			SAME(b[0], 't');
		}
	} while (k >= 6 || going());
	return NULL;
}
static int writes(void *p)
{
	(void)p;
	while (going())
		for (int i = 0; i < 6; i++) {
			wait_ms(i * 5 + 20);
			MUST(write(ticks[i][1], "t", 1));
			struct pollfd f = {ticks[i][0], POLLIN, 0};
			while (poll(&f, 1, 0) == 1) /* until it has been taken */
				sched_yield();
		}
	for (int i = 0; i < 6; i++)
		MUST(write(ticks[i][1], "e", 1));
	return 0;
}
int main(void)
{
	MUST(pipe(never));
	for (int i = 0; i < 6; i++)
		MUST(pipe(ticks[i]));
	pid_t pid = spawn(writes, NULL);
	threads(12, thread);
	reap("writer", pid);
	return held("polls");
}
