/* fork from a thread while others run: the child has that one thread only, and works; pthread_atfork. */
#include "victim.h"
static volatile int stop, prepared, parents;
static void before(void) { prepared++; }
static void parent(void) { parents++; }
static void *spins(void *p)
{
	while (!stop)
		burn(1);
	return p;
}
static int child(void *p)
{
	(void)p;
	char cmd[100];
	snprintf(cmd, sizeof cmd, "test $(ls /proc/%d/task | wc -l) = 1", getpid());
	int st = system(cmd);
	pthread_t t;
	pthread_create(&t, NULL, spins, NULL);
	stop = 1;
	pthread_join(t, NULL);
	return WEXITSTATUS(st) + 40;
}
static void *forks(void *p)
{
	for (int i = 0; i < 5; i++)
		reap("child", spawn(child, NULL));
	return p;
}
int main(void)
{
	pthread_t t[3], f;
	pthread_atfork(before, parent, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, spins, NULL);
	pthread_create(&f, NULL, forks, NULL);
	pthread_join(f, NULL);
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	printf("prepared %d, parents %d\n", prepared, parents);
	return 0;
}
