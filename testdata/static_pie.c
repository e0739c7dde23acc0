/* A static position independent executable, with threads and thread-local storage.
 * oracle: cflags -static-pie -fPIE */
#include "victim.h"
static __thread int mine = 5;
static void *thread(void *p) { return (void *)(long)(mine += *(int *)p); }
int main(void)
{
	pthread_t t;
	void *r;
	int add = 6;
	pthread_create(&t, NULL, thread, &add);
	pthread_join(t, &r);
	printf("%ld %d\n", (long)r, mine);
	return 0;
}
