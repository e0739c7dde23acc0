/* Mutexes with priority inheritance, whose owner the kernel knows by its number: contended by threads and by processes. */
#include "victim.h"
struct shared { pthread_mutex_t m; volatile long inside, count; };
static struct shared *s;
static void *thread(void *p)
{
	long n = (long)p;
	do {
		struct timespec t;
		int r;
		if (n % 3 == 2) {
			clock_gettime(CLOCK_REALTIME, &t);
			t.tv_sec += 60;
			r = pthread_mutex_timedlock(&s->m, &t);
		} else
			r = pthread_mutex_lock(&s->m);
		SAME(r, 0);
		SAME(__sync_add_and_fetch(&s->inside, 1), 1);
		s->count++;
		for (volatile int i = 0; i < 2000; i++)
			;
		if (n % 50 == 0) {
			clock_gettime(CLOCK_REALTIME, &t);
			SAME(pthread_mutex_timedlock(&s->m, &t), EDEADLK);
			wait_ms(1);
		}
		SAME(__sync_sub_and_fetch(&s->inside, 1), 0);
		SAME(pthread_mutex_unlock(&s->m), 0);
		n++;
	} while (going());
	return NULL;
}
static int child(void *p)
{
	(void)p;
	threads(2, thread);
	return victim_faults;
}
int main(void)
{
	pthread_mutexattr_t a;
	s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
	SAME(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT), 0);
	SAME(pthread_mutex_init(&s->m, &a), 0);
	pid_t pid = spawn(child, NULL);
	threads(3, thread);
	reap("child", pid);
	SAME(pthread_mutex_trylock(&s->m), 0);
	EXPECT(s->count > 10);
	return held("priority inheritance");
}
