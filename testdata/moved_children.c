/* fork, vfork, posix_spawn and execve without pause: every child has its own memory, number and end, and its parent learns of each once. */
#include "victim.h"
#include <spawn.h>
extern char **environ;
static int forks(void *p)
{
	static volatile int own;
	(void)p;
	pid_t me = getpid();
	do {
		pid_t kids[4];
		for (int i = 0; i < 4; i++) {
			own = i;
			kids[i] = MUST(fork());
			if (kids[i] == 0) {
				if (getppid() != me || own != i)
					_exit(99);
				own = 50;
				for (volatile int k = 0; k < 200000; k++)
					;
				if (i == 3)
					raise(SIGTERM);
				_exit(10 + i);
			}
		}
		for (int i = 0; i < 4; i++) {
			int st = 0;
			SAME(waitpid(kids[i], &st, 0), kids[i]);
			if (i == 3)
				SAME(WIFSIGNALED(st) ? WTERMSIG(st) : 0, SIGTERM);
			else
				SAME(WIFEXITED(st) ? WEXITSTATUS(st) : -1, 10 + i);
		}
		GAVE(waitpid(-1, NULL, WNOHANG), -1, ECHILD);
	} while (going());
	return victim_faults;
}
static char self[PATH_MAX];
static int executes(void *p)
{
	(void)p;
	do {
		int st;
		volatile int before = 5;
		pid_t pid = vfork();
		if (pid == 0) {
			before = 6; /* the parent's memory */
			execl(self, self, "exits", "21", NULL);
			_exit(98);
		}
		SAME(before, 6);
		MUST(waitpid(pid, &st, 0));
		SAME(st, 21 << 8);
		pid = vfork();
		if (pid == 0)
			_exit(22);
		MUST(waitpid(pid, &st, 0));
		SAME(st, 22 << 8);
		char *argv[] = {self, "exits", "23", NULL};
		SAME(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
		MUST(waitpid(pid, &st, 0));
		SAME(st, 23 << 8);
	} while (going());
	return victim_faults;
}
/* chain executes itself again and again, and keeps number, parent, mask, pending signals, ignored ones, limit, alarm, files. */
static int chain(int argc, char **argv)
{
	int left = atoi(argv[2]), fd = atoi(argv[3]);
	pid_t pid = atoi(argv[4]);
	sigset_t s;
	struct rlimit l;
	char c, number[20];
	SAME(getpid(), pid);
	sigpending(&s);
	SAME(sigismember(&s, SIGUSR1) + sigismember(&s, SIGRTMIN), 2);
	sigprocmask(SIG_BLOCK, NULL, &s);
	SAME(sigismember(&s, SIGUSR1), 1);
	struct sigaction sa;
	sigaction(SIGHUP, NULL, &sa);
	EXPECT(sa.sa_handler == SIG_IGN);
	sigaction(SIGTERM, NULL, &sa);
	EXPECT(sa.sa_handler == SIG_DFL);
	MUST(getrlimit(RLIMIT_NOFILE, &l));
	SAME(l.rlim_cur, 77);
	struct itimerval it;
	MUST(getitimer(ITIMER_REAL, &it));
	EXPECT(it.it_value.tv_sec > 900 && it.it_value.tv_sec < 1000);
	SAME(read(fd, &c, 1), 1);
	SAME(c, left);
	(void)argc;
	if (victim_faults || left == 0) {
		siginfo_t i;
		sigemptyset(&s), sigaddset(&s, SIGRTMIN);
		SAME(sigwaitinfo(&s, &i), SIGRTMIN);
		SAME(i.si_value.sival_int, 4711);
		return victim_faults ? 1 : 24;
	}
	signal(SIGTERM, (void (*)(int))abort);
	snprintf(number, sizeof number, "%d", left - 1);
	execl(self, self, "chain", number, argv[3], argv[4], NULL);
	return 97;
}
static int chains(void *p)
{
	(void)p;
	do {
		int fds[2], st;
		char fd[20], pid_[20];
		MUST(pipe(fds));
		for (char c = 5; c >= 0; c--)
			MUST(write(fds[1], &c, 1));
		pid_t pid = MUST(fork());
		if (pid == 0) {
			block(SIGUSR1, NULL), block(SIGRTMIN, NULL);
			signal(SIGHUP, SIG_IGN), signal(SIGTERM, (void (*)(int))abort);
			setrlimit(RLIMIT_NOFILE, &(struct rlimit){77, 77});
			alarm(1000);
			kill(getpid(), SIGUSR1), sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 4711});
			snprintf(fd, sizeof fd, "%d", fds[0]), snprintf(pid_, sizeof pid_, "%d", getpid());
			execl(self, self, "chain", "5", fd, pid_, NULL);
			_exit(96);
		}
		close(fds[0]), close(fds[1]);
		MUST(waitpid(pid, &st, 0));
		SAME(st, 24 << 8);
	} while (going());
	return victim_faults;
}
int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exits"))
		return atoi(argv[2]);
	MUST(readlink("/proc/self/exe", self, sizeof self - 1));
	if (argc > 1)
		return chain(argc, argv);
	pid_t a = spawn(forks, NULL), b = spawn(executes, NULL), c = spawn(chains, NULL);
	reap("forks", a), reap("executes", b), reap("chains", c);
	return held("children");
}
