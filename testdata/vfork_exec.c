/* vfork: the parent waits for the child's exec or exit, and sees what the child wrote into their memory.
 * oracle: with hello */
#include "victim.h"
int main(int argc, char **argv)
{
	volatile int wrote = 0;
	char other[4096];
	(void)argc;
	snprintf(other, sizeof other, "%s/../hello", argv[0]);
	char *slash = strrchr(argv[0], '/');
	snprintf(other, sizeof other, "%.*s/hello", (int)(slash - argv[0]), argv[0]);
	pid_t pid = vfork();
	if (pid == 0) {
		wrote = 1;
		execl(other, "hello", "a", "b", NULL);
		_exit(98);
	}
	int seen = wrote;
	reap("exec", pid);
	printf("wrote %d\n", seen);
	pid = vfork();
	if (pid == 0) {
		wrote = 2;
		execl("/nonexistent", "x", NULL);
		wrote = errno;
		_exit(97);
	}
	printf("wrote %s\n", strerrorname_np(wrote));
	reap("no exec", pid);
	return 0;
}
