/* A process with threads that compute, wait and hold locks comes home: all of them, with their registers, their signals and their files.
 * oracle: home shared */
#include "victim.h"
static volatile int stop, ready;
static volatile long counts[4];
static int p[2];
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int go;
static __thread long mine;
static volatile int hits;
static void hit(int s, siginfo_t *i, void *x) { (void)s, (void)i, (void)x; hits++; }
static void *computes(void *x)
{
	double f = 1.0;
	mine = (long)x;
	__sync_fetch_and_add(&ready, 1);
	while (!stop)
		f = f * 1.0000001 + 1e-9, counts[mine]++;
	return (void *)(long)(f >= 1.0 && mine == (long)x);
}
static void *reads(void *x)
{
	char b = 0;
	(void)x;
	__sync_fetch_and_add(&ready, 1);
	long n = read(p[0], &b, 1);
	return (void *)(long)(n == 1 ? b : -errno);
}
static void *waits(void *x)
{
	(void)x;
	pthread_mutex_lock(&m);
	__sync_fetch_and_add(&ready, 1);
	while (!go)
		pthread_cond_wait(&c, &m);
	pthread_mutex_unlock(&m);
	return (void *)5;
}
static void *sleeps(void *x)
{
	(void)x;
	double t = now();
	__sync_fetch_and_add(&ready, 1);
	wait_ms(300);
	double took = now() - t;
	return (void *)(long)(took >= 0.3 && took < 1.5);
}
int main(void)
{
	pthread_t t[5];
	MUST(pipe(p));
	handle(SIGUSR1, hit, SA_RESTART), handle(SIGUSR2, hit, SA_RESTART);
	block(SIGUSR2, NULL);
	pthread_create(&t[0], NULL, computes, (void *)0), pthread_create(&t[1], NULL, computes, (void *)1);
	pthread_create(&t[2], NULL, reads, NULL), pthread_create(&t[3], NULL, waits, NULL), pthread_create(&t[4], NULL, sleeps, NULL);
	while (ready < 5)
		wait_ms(1);
	kill(getpid(), SIGUSR2);
	wait_ms(50);
	long before[2] = {counts[0], counts[1]};
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	MUST(ftruncate(fd, 4096));
	int *s = mmap(NULL, 4096, 3, MAP_SHARED, fd, 0); /* home */
	*s = 77;
	while (counts[0] == before[0] || counts[1] == before[1])
		wait_ms(1);
	puts("both go on computing");
	sigset_t pend;
	sigpending(&pend);
	TRUE(sigismember(&pend, SIGUSR2));
	kill(getpid(), SIGUSR1);
	wait_ms(5);
	SHOW(hits);
	MUST(write(p[1], "!", 1));
	pthread_mutex_lock(&m), go = 1, pthread_cond_signal(&c), pthread_mutex_unlock(&m);
	stop = 1;
	for (int i = 0; i < 5; i++) {
		void *r;
		pthread_join(t[i], &r);
		printf("thread %d: %ld\n", i, (long)r);
	}
	SHOW(pread(fd, &go, 4, 0));
	SHOW(go);
	return 0;
}
