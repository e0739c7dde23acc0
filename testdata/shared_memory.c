/* MAP_SHARED|MAP_ANONYMOUS across fork: both see each other's writes; counters, a ring, a process-shared mutex and condition. */
#include "victim.h"
struct ring { pthread_mutex_t m; pthread_cond_t c; int head, tail, buf[16]; long spins; };
static int producer(void *p)
{
	struct ring *r = p;
	for (int i = 1; i <= 5000; i++) {
		pthread_mutex_lock(&r->m);
		while (r->head - r->tail == 16)
			pthread_cond_wait(&r->c, &r->m);
		r->buf[r->head++ % 16] = i;
		pthread_cond_broadcast(&r->c);
		pthread_mutex_unlock(&r->m);
		__sync_fetch_and_add(&r->spins, 1);
	}
	return 0;
}
int main(void)
{
	struct ring *r = mmap(NULL, sizeof *r, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_mutexattr_init(&ma), pthread_mutexattr_setpshared(&ma, 1), pthread_mutex_init(&r->m, &ma);
	pthread_condattr_init(&ca), pthread_condattr_setpshared(&ca, 1), pthread_cond_init(&r->c, &ca);
	pid_t a = spawn(producer, r), b = spawn(producer, r);
	long sum = 0;
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&r->m);
		while (r->head == r->tail)
			pthread_cond_wait(&r->c, &r->m);
		sum += r->buf[r->tail++ % 16];
		pthread_cond_broadcast(&r->c);
		pthread_mutex_unlock(&r->m);
	}
	reap("a", a), reap("b", b);
	printf("sum %ld, spins %ld\n", sum, r->spins);
	return 0;
}
