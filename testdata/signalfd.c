/* signalfd: signals read as data, with sender and value; poll; non-blocking; across fork; mixed with handlers. */
#include "victim.h"
#include <sys/signalfd.h>
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c, hits++; }
int main(void)
{
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGRTMIN + 1), sigaddset(&s, SIGCHLD);
	handle(SIGUSR1, hit, 0);
	MUST(sigprocmask(SIG_BLOCK, &s, NULL));
	int fd = MUST(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	struct signalfd_siginfo si[4];
	SHOW(read(fd, si, sizeof si));
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 8});
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 9});
	struct pollfd p = {fd, POLLIN, 0};
	SHOW(poll(&p, 1, 1000));
	SHOW(read(fd, si, sizeof si) / sizeof *si);
	printf("%d code %d self %d; rt %d value %d; value %d\n", si[0].ssi_signo, si[0].ssi_code, si[0].ssi_pid == (unsigned)getpid(),
	       si[1].ssi_signo - SIGRTMIN, si[1].ssi_int, si[2].ssi_int);
	int end[2];
	char b = 0;
	MUST(pipe(end));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		wait_ms(30);
		kill(getppid(), SIGUSR1);
		MUST(read(end[0], &b, 1));
		_exit(21);
	}
	SHOW(poll(&p, 1, 2000));
	SHOW(read(fd, si, sizeof si) / sizeof *si);
	TRUE(si[0].ssi_signo == SIGUSR1 && si[0].ssi_pid == (unsigned)pid);
	MUST(write(end[1], &b, 1));
	SHOW(poll(&p, 1, 2000));
	SHOW(read(fd, si, sizeof si) / sizeof *si);
	TRUE(si[0].ssi_signo == SIGCHLD && si[0].ssi_pid == (unsigned)pid && si[0].ssi_status == 21 && si[0].ssi_code == CLD_EXITED);
	reap("child", pid);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	printf("handler ran %d times\n", hits);
	sigprocmask(SIG_UNBLOCK, &s, NULL);
	printf("handler ran %d times\n", hits);
	SHOW(poll(&p, 1, 0));
	/* blocking read */
	sigprocmask(SIG_BLOCK, &s, NULL);
	fcntl(fd, F_SETFL, 0);
	later(SIGUSR1, 40);
	SHOW(read(fd, si, sizeof *si) == sizeof *si && si[0].ssi_signo == SIGUSR1);
	sigemptyset(&s), sigaddset(&s, SIGUSR2);
	SHOW(signalfd(fd, &s, 0) == fd);
	SHOW(signalfd(0, &s, 0));
	/* what waits for the descriptor and is taken otherwise */
	sigset_t none, rt;
	sigemptyset(&none), sigemptyset(&rt), sigaddset(&rt, SIGRTMIN + 1);
	sigaddset(&s, SIGUSR1), sigaddset(&s, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	SHOW(signalfd(fd, &s, 0) == fd);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	hits = 0;
	kill(getpid(), SIGUSR1);
	SHOW(sigsuspend(&none));
	printf("handler ran %d times\n", hits);
	kill(getpid(), SIGUSR1);
	struct timespec t = {2, 0};
	SHOW(ppoll(NULL, 0, &t, &none));
	printf("handler ran %d times\n", hits);
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 1});
	siginfo_t i;
	SHOW(sigtimedwait(&rt, &i, &t) - SIGRTMIN);
	printf("value %d\n", i.si_value.sival_int);
	sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 2});
	SHOW(read(fd, si, sizeof si) / (long)sizeof *si);
	printf("value %d\n", si[0].ssi_int);
	SHOW(read(fd, si, sizeof si));
	/* what waits before there is a descriptor */
	sigemptyset(&s), sigaddset(&s, SIGRTMIN + 5), sigaddset(&s, SIGWINCH);
	sigprocmask(SIG_BLOCK, &s, NULL);
	for (int k = 0; k < 3; k++)
		sigqueue(getpid(), SIGRTMIN + 5, (union sigval){.sival_int = k});
	raise(SIGWINCH), raise(SIGRTMIN + 5);
	fd = MUST(signalfd(-1, &s, SFD_NONBLOCK));
	for (int k = 0; k < 6; k++) {
		long n = SHOW(read(fd, si, sizeof *si) / (long)sizeof *si);
		if (n > 0)
			printf("%d code %d value %d\n", si[0].ssi_signo >= (unsigned)SIGRTMIN ? (int)si[0].ssi_signo - SIGRTMIN : -(int)si[0].ssi_signo, si[0].ssi_code, si[0].ssi_code == SI_QUEUE ? si[0].ssi_int : 0);
	}
	return 0;
}
