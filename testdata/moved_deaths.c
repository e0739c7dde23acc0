/* Children that die, of an exit in a thread, of a fault, of a signal while they compute or wait: the status is the true one. */
#include "victim.h"
static void *kills(void *p)
{
	wait_ms(1 + (long)p % 7);
	if ((long)p % 2)
		exit(40);
	kill(getpid(), SIGTERM);
	return NULL;
}
static volatile int *null;
static int dies(void *p)
{
	pthread_t t[3];
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	for (volatile int i = 0; i < 1000000; i++)
		;
	switch ((long)p % 7) {
	case 0:
		for (long i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, kills, (void *)(i * 2));
		for (;;)
			;
	case 1:
		for (long i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, kills, (void *)(i * 2 + 1));
		pause();
	case 2:
		ualarm(8000, 0);
		for (;;)
			burn(1);
	case 3:
		signal(SIGFPE, SIG_DFL);
		raise(SIGFPE);
	case 4:
		*null = 5;
	case 5:
		abort();
	case 6:
		pthread_create(&t[0], NULL, kills, (void *)3);
		syscall(SYS_exit, 3); /* only this thread */
	}
	return 1;
}
int main(void)
{
	static const int want[] = {SIGTERM, 40 << 8, SIGALRM, SIGFPE, SIGSEGV, SIGABRT, 40 << 8};
	do {
		pid_t kids[7];
		for (int i = 0; i < 7; i++)
			kids[i] = spawn(dies, (void *)(long)i);
		for (int i = 0; i < 7; i++) {
			int st;
			SAME(waitpid(kids[i], &st, 0), kids[i]);
			SAME(st * 10 + i, want[i] * 10 + i);
		}
	} while (going());
	return held("deaths");
}
