/* Names of threads, and what prctl sets for threads and processes: parent-death signal, slack, dumpable, subreaper, no new privileges. */
#include "victim.h"
#include <sys/prctl.h>
static pthread_barrier_t end;
static void *thread(void *p)
{
	char name[32], want[16], path[64];
	int v;
	snprintf(want, sizeof want, "thread %ld", (long)p);
	if (p)
		MUST(prctl(PR_SET_NAME, want));
	else
		snprintf(want, sizeof want, "moved_names");
	MUST(prctl(PR_SET_TIMERSLACK, 70000 + (long)p));
	if (p == (void *)3)
		MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); /* of this thread alone */
	do {
		memset(name, 0, sizeof name);
		MUST(prctl(PR_GET_NAME, name));
		EXPECT(!strcmp(name, want));
		snprintf(path, sizeof path, "/proc/self/task/%d/comm", gettid());
		int fd = MUST(open(path, O_RDONLY));
		memset(name, 0, sizeof name);
		MUST(read(fd, name, sizeof name));
		close(fd);
		EXPECT(!strncmp(name, want, strlen(want)) && name[strlen(want)] == '\n');
		SAME(prctl(PR_GET_TIMERSLACK), 70000 + (long)p);
		MUST(prctl(PR_GET_PDEATHSIG, &v));
		SAME(v, p ? 0 : SIGHUP);
		SAME(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), p == (void *)3);
		wait_ms(1);
		burn(1);
	} while (going());
	pthread_barrier_wait(&end);
	return NULL;
}
int main(void)
{
	pthread_t t[3];
	int v, st;
	pthread_barrier_init(&end, NULL, 4);
	MUST(prctl(PR_SET_PDEATHSIG, SIGHUP));
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
	MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	for (long i = 1; i < 4; i++)
		pthread_create(&t[i - 1], NULL, thread, (void *)i);
	thread(NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	MUST(prctl(PR_GET_CHILD_SUBREAPER, &v));
	SAME(v, 1), SAME(prctl(PR_GET_DUMPABLE), 1), SAME(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	pid_t pid = MUST(fork());
	if (pid == 0) { /* its child is left to us */
		if (fork() == 0) {
			wait_ms(40);
			_exit(31);
		}
		_exit(30);
	}
	MUST(waitpid(pid, &st, 0));
	SAME(st, 30 << 8);
	MUST(waitpid(-1, &st, 0));
	SAME(st, 31 << 8);
	return held("names");
}
