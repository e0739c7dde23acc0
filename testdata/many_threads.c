/* A hundred threads alive at once, all making calls; then five hundred short ones. */
#include "victim.h"
static pthread_barrier_t bar;
static void *works(void *p)
{
	char b[4];
	int fd[2], ok = 1;
	pthread_barrier_wait(&bar);
	MUST(pipe(fd));
	for (int i = 0; i < 5; i++)
		ok &= write(fd[1], "abcd", 4) == 4 && read(fd[0], b, 4) == 4;
	close(fd[0]), close(fd[1]);
	pthread_barrier_wait(&bar);
	return (void *)(ok + (long)p);
}
static void *quick(void *p) { return (char *)p + 1; }
int main(void)
{
	pthread_t t[100];
	long sum = 0;
	void *r;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	pthread_barrier_init(&bar, NULL, 100);
	for (long i = 0; i < 100; i++)
		SHOW(pthread_create(&t[i], &a, works, (void *)i)) == 0 ? (void)0 : abort();
	for (int i = 0; i < 100; i++)
		pthread_join(t[i], &r), sum += (long)r;
	printf("sum %ld\n", sum);
	sum = 0;
	for (long i = 0; i < 500; i++)
		pthread_create(&t[0], &a, quick, (void *)i), pthread_join(t[0], &r), sum += (long)r;
	printf("sum %ld\n", sum);
	int fd = MUST(dup(0));
	printf("next descriptor %d\n", fd);
	return 0;
}
