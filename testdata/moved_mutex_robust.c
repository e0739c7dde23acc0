/* Robust mutexes: the kernel finds the list of what a dead thread or process held, wherever it dies. */
#include "victim.h"
struct shared { pthread_mutex_t m[3]; volatile int held; long data; };
static struct shared *s;
static int dies(void *how)
{
	for (int i = 0; i < 3; i++)
		pthread_mutex_lock(&s->m[i]);
	s->data++;
	s->held = 1;
	if (how)
		for (;;)
			burn(10);
	wait_ms(30); /* may be somewhere else when it ends */
	burn(5);
	return 0;
}
static void *thread_dies(void *p)
{
	pthread_mutex_lock(&s->m[1]);
	s->data++;
	wait_ms(20);
	burn(3);
	return p;
}
static void recover(int i)
{
	SAME(pthread_mutex_lock(&s->m[i]), EOWNERDEAD);
	SAME(pthread_mutex_consistent(&s->m[i]), 0);
	SAME(pthread_mutex_unlock(&s->m[i]), 0);
}
int main(void)
{
	pthread_mutexattr_t a;
	s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	for (int i = 0; i < 3; i++) {
		if (i == 2)
			pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
		pthread_mutex_init(&s->m[i], &a);
	}
	long n = 0;
	void *list, *now_;
	size_t len;
	MUST(syscall(SYS_get_robust_list, 0, &list, &len));
	do {
		MUST(syscall(SYS_get_robust_list, 0, &now_, &len));
		EXPECT(now_ == list && len == 24);
		int st;
		s->held = 0;
		pid_t pid = spawn(dies, NULL);
		while (!s->held)
			sched_yield();
		for (int i = 0; i < 3; i++) /* waits for its end */
			recover(i);
		MUST(waitpid(pid, &st, 0));
		SAME(st, 0);
		s->held = 0;
		pid = spawn(dies, "killed");
		while (!s->held)
			sched_yield();
		wait_ms(10);
		kill(pid, SIGKILL);
		for (int i = 2; i >= 0; i--)
			recover(i);
		MUST(waitpid(pid, &st, 0));
		SAME(WTERMSIG(st), SIGKILL);
		pthread_t t;
		pthread_create(&t, NULL, thread_dies, NULL);
		while (s->data < n + 3)
			sched_yield();
		recover(1);
		pthread_join(t, NULL);
		n += 3;
		SAME(s->data, n);
	} while (going());
	return held("robust mutexes");
}
