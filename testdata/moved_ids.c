/* The numbers of process, threads, parent, group and session, as calls, files and the C library tell them; a pidfd of oneself; joining threads. */
#include "victim.h"
#include <dirent.h>
static pid_t pid, ppid, pgid, sid, tids[6];
static volatile int up;
static pthread_barrier_t end;
static void *joined(void *p)
{
	(void)p;
	return (void *)(long)gettid();
}
static long number(const char *name, const char *key)
{
	char b[4096] = "", *at;
	int fd = MUST(open(name, O_RDONLY));
	MUST(read(fd, b, sizeof b - 1));
	close(fd);
	at = strstr(b, key);
	return at ? atol(at + strlen(key)) : -1;
}
static void *thread(void *p)
{
	pid_t tid = gettid();
	pthread_mutex_t checks;
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr), pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checks, &attr);
	tids[(long)p] = tid;
	__sync_fetch_and_add(&up, 1);
	while (up < 6)
		sched_yield();
	while (going()) {
		for (volatile long i = 0; i < 100000; i++)
			;
		SAME(gettid(), tid), SAME(getpid(), pid), SAME(getppid(), ppid), SAME(getpgid(0), pgid), SAME(getsid(0), sid);
		SAME(number("/proc/thread-self/status", "\nPid:\t"), tid);
		SAME(number("/proc/thread-self/status", "\nTgid:\t"), pid);
		SAME(number("/proc/self/status", "\nPPid:\t"), ppid);
		for (int i = 0; i < 6; i++)
			MUST(syscall(SYS_tgkill, pid, tids[i], 0));
		GAVE(syscall(SYS_tgkill, pid, ppid, 0), -1, ESRCH);
		pthread_mutex_lock(&checks); /* by number */
		SAME(pthread_mutex_lock(&checks), EDEADLK);
		SAME(*(int *)((char *)&checks + 8), tid);
		pthread_mutex_unlock(&checks);
		pthread_t t;
		void *r;
		if ((long)p == 0) { /* its end is told by the kernel to the word that it was given at its birth */
			pthread_create(&t, NULL, joined, NULL);
			pthread_join(t, &r);
			EXPECT((long)r > 0 && (long)r != tid);
		}
		if ((long)p == 1) {
			DIR *d = opendir("/proc/self/task");
			int found = 0;
			for (struct dirent *e; (e = readdir(d));)
				for (int i = 0; i < 6; i++)
					found += atoi(e->d_name) == tids[i];
			closedir(d);
			SAME(found, 6);
		}
	}
	pthread_barrier_wait(&end);
	return NULL;
}
int main(void)
{
	MUST(setpgid(0, 0) == 0 || errno == EPERM ? 0 : -1); /* a session's leader stays where it is */
	pid = getpid(), ppid = getppid(), pgid = getpgrp(), sid = getsid(0);
	pthread_barrier_init(&end, NULL, 6);
	int fd = MUST(syscall(SYS_pidfd_open, pid, 0));
	threads(6, thread);
	struct pollfd f = {fd, POLLIN, 0};
	SAME(poll(&f, 1, 0), 0);
	MUST(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
	GAVE(waitpid(-1, NULL, 0), -1, ECHILD);
	return held("numbers");
}
