/* Every exit status reaches the parent, by exit and exit_group, from the leader and from another thread. */
#include "victim.h"
static void *leaves(void *p) { syscall(SYS_exit_group, *(int *)p); return NULL; }
static int by_thread(void *p)
{
	pthread_t t;
	pthread_create(&t, NULL, leaves, p);
	pause();
	return 1;
}
static int by_leader_last(void *p)
{
	(void)p;
	syscall(SYS_exit, 17);
	return 1;
}
static void *lingers(void *p) { (void)p; wait_ms(30); return NULL; }
static int leader_first(void *p)
{
	pthread_t t;
	pthread_create(&t, NULL, lingers, p);
	syscall(SYS_exit, 19); /* the process ends with its last thread, which returns 0 */
	return 1;
}
static int code(void *p) { return *(int *)p; }
int main(void)
{
	int codes[] = {0, 1, 2, 126, 127, 128, 255, 256 + 4};
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
		reap("exit", spawn(code, &codes[i]));
	int c = 33;
	reap("another thread", spawn(by_thread, &c));
	reap("bare exit", spawn(by_leader_last, NULL));
	reap("leader first", spawn(leader_first, NULL));
	return 255;
}
