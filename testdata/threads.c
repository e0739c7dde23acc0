/* Threads: mutex, condition variable, barrier, thread-local storage, rwlock, semaphore, once, join and detach. */
#include "victim.h"
#include <semaphore.h>
enum { N = 8, ROUNDS = 2000 };
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t bar;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t sem;
static long total, turn, onces;
static __thread long mine;
static void first(void) { onces++; }
static void *work(void *p)
{
	long id = (long)p;
	pthread_once(&once, first);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&m);
		total++;
		pthread_mutex_unlock(&m);
		mine += id;
	}
	pthread_barrier_wait(&bar);
	for (int r = 0; r < 20; r++) { /* strictly in turn */
		pthread_mutex_lock(&m);
		while (turn % N != id)
			pthread_cond_wait(&c, &m);
		turn++;
		pthread_cond_broadcast(&c);
		pthread_mutex_unlock(&m);
	}
	pthread_rwlock_rdlock(&rw);
	long t = total;
	pthread_rwlock_unlock(&rw);
	sem_post(&sem);
	return (void *)(mine + t);
}
static void *detached(void *p) { sem_post(p); return NULL; }
int main(void)
{
	pthread_t t[N];
	sem_init(&sem, 0, 0);
	pthread_barrier_init(&bar, NULL, N);
	for (long i = 0; i < N; i++)
		pthread_create(&t[i], NULL, work, (void *)i);
	for (int i = 0; i < N; i++)
		sem_wait(&sem);
	for (int i = 0; i < N; i++) {
		void *r;
		pthread_join(t[i], &r);
		printf("thread %d: %ld\n", i, (long)r);
	}
	printf("total %ld, turns %ld, once %ld\n", total, turn, onces);
	for (int i = 0; i < 100; i++) {
		pthread_t d;
		SHOW(pthread_create(&d, NULL, detached, &sem)) == 0 ? (void)0 : abort();
		pthread_detach(d);
		sem_wait(&sem);
	}
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 30000000;
	if (ts.tv_nsec > 999999999)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	pthread_mutex_lock(&m);
	printf("%s\n", strerrorname_np(pthread_cond_timedwait(&c, &m, &ts)));
	printf("%s\n", strerrorname_np(pthread_mutex_timedlock(&m, &ts)));
	return 0;
}
