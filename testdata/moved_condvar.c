/* Condition variables, barriers, semaphores, read-write locks among threads: no wake-up is lost, nobody gets in who must not. */
#include "victim.h"
#include <semaphore.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t full = PTHREAD_COND_INITIALIZER, empty = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t bar;
static sem_t sem;
static int box = -1, ended;
static volatile long sum_in, sum_out, writers, readers, arrived, in_sem;
static void *puts_(void *p)
{
	long n = 0;
	(void)p;
	do {
		pthread_mutex_lock(&m);
		while (box != -1)
			pthread_cond_wait(&empty, &m);
		box = n++, sum_in += box;
		pthread_cond_signal(&full);
		pthread_mutex_unlock(&m);
	} while (going());
	pthread_mutex_lock(&m);
	ended = 1;
	pthread_cond_broadcast(&full);
	pthread_mutex_unlock(&m);
	return NULL;
}
static void *gets_(void *p)
{
	(void)p;
	pthread_mutex_lock(&m);
	for (;;) {
		while (box == -1 && !ended)
			pthread_cond_wait(&full, &m);
		if (box == -1)
			break;
		sum_out += box, box = -1;
		pthread_cond_signal(&empty);
	}
	pthread_mutex_unlock(&m);
	return NULL;
}
static void *meets(void *p)
{
	static volatile int stop;
	long round = 0;
	for (;;) {
		__sync_fetch_and_add(&arrived, 1);
		pthread_barrier_wait(&bar);
		round++;
		SAME(arrived, round * 3);
		if ((long)p == 2 && !going())
			stop = 1;
		pthread_barrier_wait(&bar);
		if (stop)
			return NULL;
		sem_wait(&sem); /* two at a time */
		EXPECT(__sync_add_and_fetch(&in_sem, 1) <= 2);
		sched_yield();
		__sync_fetch_and_sub(&in_sem, 1);
		sem_post(&sem);
		pthread_barrier_wait(&bar);
	}
}
static void *locks(void *p)
{
	do {
		if ((long)p == 5) {
			pthread_rwlock_wrlock(&rw);
			SAME(__sync_add_and_fetch(&writers, 1), 1);
			SAME(readers, 0);
			for (volatile int i = 0; i < 1000; i++)
				;
			__sync_fetch_and_sub(&writers, 1);
		} else {
			pthread_rwlock_rdlock(&rw);
			__sync_fetch_and_add(&readers, 1);
			SAME(writers, 0);
			for (volatile int i = 0; i < 500; i++)
				;
			__sync_fetch_and_sub(&readers, 1);
		}
		pthread_rwlock_unlock(&rw);
		sched_yield();
	} while (going());
	return NULL;
}
static void *run(void *p)
{
	long n = (long)p;
	return n < 3 ? meets(p) : n < 6 ? locks(p) : n == 6 ? puts_(p) : gets_(p);
}
int main(void)
{
	pthread_barrier_init(&bar, NULL, 3);
	sem_init(&sem, 0, 2);
	threads(8, run);
	SAME(sum_out, sum_in);
	return held("synchronisation of threads");
}
