/* A family that shares anonymous memory: atomic counters, mutexes, condition variables, semaphores and bare futexes in it work wherever it is. */
#include "victim.h"
#include <linux/futex.h>
#include <semaphore.h>
#define N 4
struct shared {
	volatile long atomic, guarded, turns[N];
	pthread_mutex_t m;
	pthread_cond_t c;
	sem_t items, space;
	volatile int turn, ball, end, queue[8];
	volatile long taken, put;
	char pad[8192];
	volatile unsigned char bytes[N][4096];
};
static struct shared *s;
static long futex(volatile int *w, int op, int v) { return syscall(SYS_futex, w, op, v, NULL, NULL, 0); }
static int child(void *p)
{
	int me = (int)(long)p;
	long n = 0;
	for (;;) {
		__sync_fetch_and_add(&s->atomic, 1);
		pthread_mutex_lock(&s->m); /* in turn, by condition variable */
		while (s->turn != me)
			pthread_cond_wait(&s->c, &s->m);
		if (me == 0 && !going())
			s->end = 1;
		int stop = s->end;
		s->guarded++, s->turns[me]++;
		s->turn = (me + 1) % N;
		pthread_cond_broadcast(&s->c);
		pthread_mutex_unlock(&s->m);
		if (stop)
			break;
		n++;
		for (int i = 0; i < 4096; i += 512) /* my page that others read */
			s->bytes[me][i] = n;
		if (me < 2) { /* ping-pong by futex */
			while (s->ball != me)
				if (futex(&s->ball, FUTEX_WAIT, 1 - me) == -1)
					EXPECT(errno == EAGAIN || errno == EINTR);
			s->ball = 1 - me;
			futex(&s->ball, FUTEX_WAKE, 1);
		} else if (me == 2) {
			while (sem_wait(&s->space) != 0)
				SAME(errno, EINTR);
			s->queue[s->put % 8] = (int)s->put, s->put++;
			sem_post(&s->items);
		} else {
			while (sem_wait(&s->items) != 0)
				SAME(errno, EINTR);
			SAME(s->queue[s->taken % 8], (int)s->taken);
			s->taken++;
			sem_post(&s->space);
		}
	}
	SAME(s->bytes[me][512], (unsigned char)n);
	return victim_faults;
}
int main(void)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&ma), pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_condattr_init(&ca), pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->m, &ma), pthread_cond_init(&s->c, &ca);
	sem_init(&s->items, 1, 0), sem_init(&s->space, 1, 8);
	pid_t kids[N];
	for (long i = 0; i < N; i++)
		kids[i] = spawn(child, (void *)i);
	for (int i = 0; i < N; i++)
		reap("child", kids[i]);
	SAME(s->atomic, s->guarded);
	for (int i = 1; i < N; i++)
		SAME(s->turns[i], s->turns[0]);
	SAME(s->put, s->taken);
	EXPECT(s->put > 3);
	return held("shared memory");
}
