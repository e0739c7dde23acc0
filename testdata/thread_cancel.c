/* pthread_cancel of threads in blocking calls, with clean-up handlers; asynchronous cancellation of a loop; threads that exit others. */
#include "victim.h"
static int p[2];
static volatile int cleaned;
static void clean(void *x) { cleaned += (long)x; }
static void *reads(void *x)
{
	char b;
	pthread_cleanup_push(clean, x);
	read(p[0], &b, 1);
	pthread_cleanup_pop(0);
	return NULL;
}
static void *sleeps(void *x)
{
	pthread_cleanup_push(clean, x);
	sleep(100);
	pthread_cleanup_pop(0);
	return NULL;
}
static void *loops(void *x)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_cleanup_push(clean, x);
	for (volatile int i = 0;; i++)
		;
	pthread_cleanup_pop(0);
	return NULL;
}
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static void unlock(void *x) { (void)x; cleaned += 1000; pthread_mutex_unlock(&m); }
static void *waits(void *x)
{
	(void)x;
	pthread_mutex_lock(&m);
	pthread_cleanup_push(unlock, NULL);
	pthread_cond_wait(&c, &m);
	pthread_cleanup_pop(0);
	return NULL;
}
int main(void)
{
	void *(*kinds[])(void *) = {reads, sleeps, loops, waits};
	MUST(pipe(p));
	for (int round = 0; round < 5; round++)
		for (int k = 0; k < 4; k++) {
			pthread_t t;
			void *r;
			pthread_create(&t, NULL, kinds[k], (void *)(long)(k + 1));
			if (round)
				wait_ms(5);
			pthread_cancel(t);
			pthread_join(t, &r);
			printf("%d: canceled %d\n", k, r == PTHREAD_CANCELED);
		}
	TRUE(cleaned > 0);
	TRUE(pthread_mutex_trylock(&m) == 0);
	return 0;
}
