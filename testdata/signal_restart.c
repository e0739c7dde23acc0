/* Blocking calls interrupted by a handler: which are restarted with SA_RESTART, which end in EINTR with and without it.
 * oracle: still its one signal may come before the call that it is to interrupt */
#include "victim.h"
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/sem.h>
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
static int rd[2];
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static socklen_t alen;
static int sock, lis;
static int c_read(void) { char b; return read(rd[0], &b, 1); }
static int c_readv(void) { char b; struct iovec v = {&b, 1}; return readv(rd[0], &v, 1); }
static int c_write(void) { static char b[1 << 17]; int p[2], r; MUST(pipe(p)); r = write(p[1], b, sizeof b); close(p[0]); close(p[1]); return r; }
static int c_recv(void) { char b; return recv(sock, &b, 1, 0); }
static int c_recv_timeout(void) { char b; struct timeval t = {2, 0}; setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t); int r = recv(sock, &b, 1, 0), e = errno; t.tv_sec = 0; setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t); errno = e; return r; }
static int c_accept(void) { return accept(lis, NULL, NULL); }
static int c_poll(void) { struct pollfd p = {rd[0], POLLIN, 0}; return poll(&p, 1, 2000); }
static int c_ppoll(void) { struct pollfd p = {rd[0], POLLIN, 0}; struct timespec t = {2, 0}; return ppoll(&p, 1, &t, NULL); }
static int c_select(void) { fd_set s; FD_ZERO(&s); FD_SET(rd[0], &s); struct timeval t = {2, 0}; return select(rd[0] + 1, &s, NULL, NULL, &t); }
static int c_pselect(void) { fd_set s; FD_ZERO(&s); FD_SET(rd[0], &s); struct timespec t = {2, 0}; return pselect(rd[0] + 1, &s, NULL, NULL, &t, NULL); }
static int c_epoll(void) { struct epoll_event e; int f = epoll_create1(0), r = epoll_wait(f, &e, 1, 2000), er = errno; close(f); errno = er; return r; }
static int c_nanosleep(void) { struct timespec t = {2, 0}; return nanosleep(&t, NULL); }
static int c_clock_nanosleep(void) { struct timespec t = {2, 0}; errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL); return errno ? -1 : 0; }
static int c_absolute(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); t.tv_sec += 2; errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); return errno ? -1 : 0; }
static int sleeper(void *p) { (void)p; wait_ms(300); return 5; }
static int c_wait4(void) { int st; return waitpid(-1, &st, __WALL) > 0 ? st : -1; }
static int c_waitid(void) { siginfo_t i; return waitid(P_ALL, 0, &i, WEXITED) == 0 ? i.si_status : -1; }
static int c_pause(void) { return pause(); }
static int c_sigsuspend(void) { sigset_t s; sigemptyset(&s); return sigsuspend(&s); }
static int c_sigtimedwait(void) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); struct timespec t = {2, 0}; return sigtimedwait(&s, NULL, &t); }
static int c_flock(void) { int f = open("lock", O_RDWR | O_CREAT, 0600); int r = flock(f, LOCK_EX), e = errno; close(f); errno = e; return r; }
static int c_setlkw(void) { int f = open("lock", O_RDWR | O_CREAT, 0600); struct flock l = {.l_type = F_WRLCK}; int r = fcntl(f, F_SETLKW, &l), e = errno; close(f); errno = e; return r; }
static int c_open_fifo(void) { return open("fifo", O_RDONLY); }
static int c_futex(void) { int w = 0; struct timespec t = {2, 0}; return syscall(SYS_futex, &w, 0, 0, &t, NULL, 0); }
static int locker(void *p)
{
	(void)p;
	int f = open("lock", O_RDWR | O_CREAT, 0600);
	struct flock l = {.l_type = F_WRLCK};
	flock(f, LOCK_EX), fcntl(f, F_SETLK, &l);
	MUST(write(rd[1], "L", 1));
	wait_ms(300);
	return 0;
}
static const struct { const char *name; int (*call)(void); } calls[] = {
	{"read", c_read}, {"readv", c_readv}, {"write", c_write}, {"recv", c_recv}, {"recv with timeout", c_recv_timeout}, {"accept", c_accept},
	{"poll", c_poll}, {"ppoll", c_ppoll}, {"select", c_select}, {"pselect", c_pselect}, {"epoll_wait", c_epoll}, {"nanosleep", c_nanosleep},
	{"clock_nanosleep", c_clock_nanosleep}, {"absolute sleep", c_absolute}, {"wait4", c_wait4}, {"waitid", c_waitid}, {"pause", c_pause},
	{"sigsuspend", c_sigsuspend}, {"sigtimedwait", c_sigtimedwait}, {"flock", c_flock}, {"F_SETLKW", c_setlkw}, {"open of a fifo", c_open_fifo},
	{"futex", c_futex}};
int main(int argc, char **argv)
{
	int only = argc > 2 ? atoi(argv[2]) : -1;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	alen = sizeof(sa_family_t);
	lis = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(lis, (struct sockaddr *)&addr, alen));
	MUST(listen(lis, 1));
	int sp[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sp));
	sock = sp[0];
	MUST(mkfifo("fifo", 0600));
	MUST(pipe(rd));
	for (int restart = 0; restart < 2; restart++)
		for (unsigned k = 0; k < sizeof calls / sizeof *calls; k++) {
			if (only >= 0 && (unsigned)only != k)
				continue;
			pid_t helper = 0;
			if (calls[k].call == c_wait4 || calls[k].call == c_waitid)
				helper = spawn(sleeper, NULL);
			if (calls[k].call == c_flock || calls[k].call == c_setlkw) {
				char b;
				helper = spawn(locker, NULL);
				MUST(read(rd[0], &b, 1));
			}
			handle(SIGALRM, hit, restart ? SA_RESTART : 0);
			hits = 0;
			/* the second signal would end a call that was restarted for ever; its handler does not restart */
			struct itimerval it = {{0, 0}, {0, 60000}};
			int restarts_for_ever = restart && (k <= 3 || calls[k].call == c_accept || calls[k].call == c_open_fifo);
			pid_t rescue = 0;
			if (restarts_for_ever) {
				pid_t me = getpid();
				if ((rescue = MUST(fork())) == 0) {
					wait_ms(300);
					kill(me, SIGUSR1);
					_exit(0);
				}
				handle(SIGUSR1, hit, 0);
			}
			setitimer(ITIMER_REAL, &it, NULL);
			errno = 0;
			int r = calls[k].call(), e = errno;
			printf("%s %s: %d %s, %d signals\n", calls[k].name, restart ? "SA_RESTART" : "plain", r, r == -1 ? strerrorname_np(e) : "ok", hits);
			if (rescue)
				while (waitpid(rescue, NULL, 0) == -1 && errno == EINTR)
					;
			if (helper)
				while (waitpid(helper, NULL, 0) == -1 && errno == EINTR)
					;
		}
	unlink("lock"), unlink("fifo");
	return 0;
}
