/* exec from a thread that is not the leader: the pid stays, other threads are gone, the new program is single-threaded. */
#include "victim.h"
static char self[4096];
static void *other(void *p)
{
	for (;;)
		pause();
	return p;
}
static void *execs(void *p)
{
	char pid[20];
	snprintf(pid, sizeof pid, "%d", getpid());
	execl(self, self, pid, NULL);
	return p;
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		TRUE(getpid() == atoi(argv[1]));
		TRUE(gettid() == getpid());
		SHOW(system("ls /proc/$PPID/task | wc -l"));
		return 6;
	}
	snprintf(self, sizeof self, "%s", argv[0]);
	pthread_t a, b;
	pthread_create(&a, NULL, other, NULL);
	pthread_create(&b, NULL, execs, NULL);
	pthread_join(a, NULL);
	return 1;
}
