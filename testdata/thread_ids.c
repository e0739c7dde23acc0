/* Numbers of threads and processes relate as they should: getpid, gettid, getppid, /proc/self/task, set_tid_address. */
#include "victim.h"
#include <dirent.h>
static pid_t tids[4];
static pthread_barrier_t bar;
static void *thread(void *p)
{
	tids[(long)p] = gettid();
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
	return NULL;
}
static int child(void *p) { return getppid() == *(pid_t *)p && gettid() == getpid() && getpid() != *(pid_t *)p; }
int main(void)
{
	pthread_t t[4];
	pid_t me = getpid();
	pthread_barrier_init(&bar, NULL, 5);
	TRUE(gettid() == me && syscall(SYS_getpid) == me);
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, thread, (void *)i);
	pthread_barrier_wait(&bar);
	DIR *d = opendir("/proc/self/task");
	int seen = 0, known = 0;
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		seen++;
		int id = atoi(e->d_name);
		for (int i = 0; i < 4; i++)
			known += tids[i] == id;
		known += id == me;
	}
	closedir(d);
	printf("tasks %d, known %d\n", seen, known);
	int distinct = 1;
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			distinct &= tids[i] != tids[k] && tids[i] != me;
	TRUE(distinct);
	pthread_barrier_wait(&bar);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 1000 && syscall(SYS_tgkill, me, tids[0], 0) == 0; i++)
		wait_ms(1); /* joined is a moment before gone */
	TRUE(syscall(SYS_tgkill, me, tids[0], 0) == -1 && errno == ESRCH);
	reap("child", spawn(child, &me));
	pid_t c = spawn(child, &me);
	TRUE(c > 0 && c != me);
	reap("child", c);
	char link[32];
	ssize_t n = readlink("/proc/self", link, sizeof link - 1);
	link[n] = 0;
	TRUE(atoi(link) == me);
	TRUE(syscall(SYS_set_tid_address, &tids[0]) == me);
	/* clone with raw flags */
	pid_t ptid = 0, ctid = 0;
	pid_t r = syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &ptid, &ctid, 0);
	if (r == 0)
		_exit(ctid == getpid());
	TRUE(ptid == r && ctid == 0);
	reap("clone", r);
	struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup; } a = {0};
	int pidfd = -1;
	a.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, a.pidfd = (uintptr_t)&pidfd, a.parent_tid = (uintptr_t)&ptid, a.exit_signal = SIGUSR1;
	signal(SIGUSR1, SIG_IGN);
	r = syscall(SYS_clone3, &a, sizeof a);
	if (r == 0)
		_exit(3);
	TRUE(ptid == r && pidfd > 2);
	struct pollfd pf = {pidfd, POLLIN, 0};
	SHOW(poll(&pf, 1, 2000));
	siginfo_t si;
	SHOW(waitid(P_PIDFD, pidfd, &si, WEXITED | __WALL));
	printf("status %d\n", si.si_status);
	SHOW(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
	int pf2 = MUST(syscall(SYS_pidfd_open, me, 0));
	SHOW(syscall(SYS_pidfd_send_signal, pf2, 0, NULL, 0));
	return 0;
}
