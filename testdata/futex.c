/* Futexes: between processes, timeouts, requeue, bitsets, robust mutex of a dead owner, priority inheritance, errors. */
#include "victim.h"
#include <linux/futex.h>
static long fut(void *a, int op, unsigned v, const struct timespec *t, void *b, unsigned v3) { return syscall(SYS_futex, a, op, v, t, b, v3); }
struct shared { unsigned a, b, c; pthread_mutex_t robust, pi; pthread_cond_t cond; pthread_barrier_t bar; };
static struct shared *s;
static int sleeper(void *p) { (void)p; return fut(&s->a, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 11 : errno; }
static int owner(void *p) { (void)p; pthread_mutex_lock(&s->robust); _exit(3); }
static int pi_owner(void *p)
{
	(void)p;
	pthread_mutex_lock(&s->pi);
	pthread_barrier_wait(&s->bar);
	wait_ms(50);
	pthread_mutex_unlock(&s->pi);
	return 4;
}
int main(void)
{
	s = mmap(NULL, sizeof *s, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec t = {0, 20000000};
	SHOW(fut(&s->a, FUTEX_WAIT, 1, NULL, NULL, 0));
	double t0 = now();
	SHOW(fut(&s->a, FUTEX_WAIT, 0, &t, NULL, 0));
	TRUE(now() - t0 >= 0.02);
	SHOW(fut(&s->a, FUTEX_WAKE, 1, NULL, NULL, 0));
	pid_t c[3];
	for (int i = 0; i < 3; i++)
		c[i] = spawn(sleeper, NULL);
	int woken = 0;
	while (woken < 2) { /* two wake, one is moved to b */
		woken += fut(&s->a, FUTEX_WAKE, 2 - woken, NULL, NULL, 0);
		wait_ms(1);
	}
	while (fut(&s->a, FUTEX_CMP_REQUEUE, 0, (void *)1L, &s->b, 0) != 1)
		wait_ms(1);
	SHOW(fut(&s->a, FUTEX_WAKE, 9, NULL, NULL, 0));
	SHOW(fut(&s->b, FUTEX_WAKE, 9, NULL, NULL, 0));
	for (int i = 0; i < 3; i++)
		reap("sleeper", c[i]);
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec--;
	SHOW(fut(&s->a, FUTEX_WAIT_BITSET, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY));
	clock_gettime(CLOCK_REALTIME, &t);
	SHOW(fut(&s->a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY));
	SHOW(fut((void *)9, FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(fut((void *)8, FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(fut(&s->a, 99, 0, NULL, NULL, 0));
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->robust, &a);
	reap("owner", spawn(owner, NULL));
	printf("%s\n", strerrorname_np(pthread_mutex_lock(&s->robust)));
	SHOW(pthread_mutex_consistent(&s->robust));
	SHOW(pthread_mutex_unlock(&s->robust));
	SHOW(pthread_mutex_lock(&s->robust));
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&s->pi, &a);
	pthread_barrierattr_t b;
	pthread_barrierattr_init(&b);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->bar, &b, 2);
	pid_t p = spawn(pi_owner, NULL);
	pthread_barrier_wait(&s->bar);
	SHOW(pthread_mutex_trylock(&s->pi) == EBUSY);
	TRUE((*(unsigned *)&s->pi & FUTEX_TID_MASK) == (unsigned)p);
	SHOW(pthread_mutex_lock(&s->pi));
	TRUE((*(unsigned *)&s->pi & FUTEX_TID_MASK) == (unsigned)getpid());
	SHOW(pthread_mutex_unlock(&s->pi));
	reap("pi owner", p);
	return 0;
}
