/* Threads are made and end without pause: each runs once, with what it was given, and is joined with what it returned. */
#include "victim.h"
static __thread long own = 7;
static volatile long made, ran;
static void *leaf(void *p)
{
	SAME(own, 7);
	own = (long)p;
	__sync_fetch_and_add(&ran, 1);
	for (volatile int i = 0; i < 3000; i++)
		;
	SAME(own, (long)p);
	return (void *)((long)p * 3);
}
static void *detached(void *p)
{
	__sync_fetch_and_add((volatile long *)p, 1);
	return NULL;
}
static void *maker(void *p)
{
	static volatile long gone[3];
	pthread_attr_t a;
	pthread_attr_init(&a), pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED), pthread_attr_setstacksize(&a, 65536);
	long n = 0;
	do {
		pthread_t t[8];
		void *r;
		for (long i = 0; i < 8; i++, __sync_fetch_and_add(&made, 1))
			SAME(pthread_create(&t[i], NULL, leaf, (void *)(n * 8 + i)), 0);
		pthread_t d;
		SAME(pthread_create(&d, &a, detached, (void *)&gone[(long)p]), 0);
		for (long i = 0; i < 8; i++) {
			SAME(pthread_join(t[i], &r), 0);
			SAME((long)r, (n * 8 + i) * 3);
		}
		n++;
		while (gone[(long)p] < n)
			sched_yield();
	} while (going());
	return NULL;
}
int main(void)
{
	threads(3, maker);
	SAME(ran, made);
	return held("threads");
}
