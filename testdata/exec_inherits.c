/* What execve keeps and what it drops: descriptors, masks, ignored and caught signals, pending signals, alarms, cwd, umask, nice, limits. */
#include "victim.h"
static void caught(int s) { (void)s; }
int main(int argc, char **argv)
{
	if (argc > 1) {
		int keep = atoi(argv[1]), drop = atoi(argv[2]);
		SHOW(fcntl(keep, F_GETFD));
		SHOW(fcntl(drop, F_GETFD));
		SHOW(lseek(keep, 0, SEEK_CUR));
		sigset_t m;
		sigprocmask(0, NULL, &m);
		TRUE(sigismember(&m, SIGUSR1));
		TRUE(sigismember(&m, SIGUSR2));
		sigpending(&m);
		TRUE(sigismember(&m, SIGUSR1));
		struct sigaction sa;
		sigaction(SIGINT, NULL, &sa);
		TRUE(sa.sa_handler == SIG_IGN);
		sigaction(SIGTERM, NULL, &sa);
		TRUE(sa.sa_handler == SIG_DFL);
		stack_t ss;
		sigaltstack(NULL, &ss);
		TRUE(ss.ss_flags & SS_DISABLE);
		TRUE(alarm(0) > 90);
		printf("umask %o\n", umask(0));
		printf("cwd ends in sub: %d\n", strcmp(strrchr(get_current_dir_name(), '/'), "/sub") == 0);
		struct rlimit r;
		getrlimit(RLIMIT_NOFILE, &r);
		printf("nofile %ld\n", (long)r.rlim_cur);
		SHOW(getpriority(PRIO_PROCESS, 0));
		TRUE(getpid() == atoi(argv[3]));
		TRUE(getpgrp() == atoi(argv[4]));
		TRUE(getenv("LEFT") == NULL);
		printf("%s\n", getenv("NEW"));
		return 0;
	}
	char self[4096], a[4][20];
	snprintf(self, sizeof self, "%s", argv[0]);
	MUST(mkdir("sub", 0755));
	MUST(chdir("sub"));
	umask(027);
	int keep = MUST(open("f", O_RDWR | O_CREAT, 0600)), drop = MUST(open("f", O_RDONLY | O_CLOEXEC));
	MUST(write(keep, "12345", 5));
	block(SIGUSR1, NULL);
	kill(getpid(), SIGUSR1);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, caught);
	static char stack[65536];
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
	alarm(100);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){77, 77});
	setpriority(PRIO_PROCESS, 0, 3);
	snprintf(a[0], 20, "%d", keep), snprintf(a[1], 20, "%d", drop), snprintf(a[2], 20, "%d", getpid()), snprintf(a[3], 20, "%d", getpgrp());
	char *args[] = {self, a[0], a[1], a[2], a[3], NULL}, *env[] = {"NEW=new value", NULL};
	execve(self, args, env);
	return 1;
}
