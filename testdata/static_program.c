/* A static executable, not position independent: it lies where a stub might have wished to be.
 * oracle: cflags -static -no-pie */
#include "victim.h"
#include <sys/auxv.h>
int main(void)
{
	TRUE((uintptr_t)main < 0x1000000);
	TRUE(getauxval(AT_BASE) == 0);
	char *p = malloc(1 << 20);
	memset(p, 7, 1 << 20);
	pid_t pid = spawn((int (*)(void *))(void *)getppid, NULL);
	int st;
	MUST(waitpid(pid, &st, 0));
	TRUE(WEXITSTATUS(st) == (getpid() & 0xff));
	free(p);
	return 3;
}
