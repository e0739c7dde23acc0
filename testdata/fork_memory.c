/* After fork each has its own copy of private memory, whichever kind, and both share what is shared. */
#include "victim.h"
static int data = 1, bss;
int main(void)
{
	int stack = 2, *heap = malloc(sizeof *heap), *private = mmap(NULL, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int *shared = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*heap = 3, *private = 4, *shared = 5;
	pid_t pid = MUST(fork());
	if (pid == 0) {
		printf("child sees %d %d %d %d %d %d\n", data, bss, stack, *heap, *private, *shared);
		data = bss = stack = *heap = *private = *shared = 9;
		_exit(0);
	}
	reap("child", pid);
	printf("parent sees %d %d %d %d %d %d\n", data, bss, stack, *heap, *private, *shared);
	MUST(madvise(private, 4096, MADV_DONTFORK));
	pid = MUST(fork());
	if (pid == 0) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		*private = 1;
		_exit(0);
	}
	reap("without the mapping", pid);
	MUST(madvise(shared, 4096, MADV_DOFORK));
	MUST(madvise(private, 4096, MADV_DOFORK));
	MUST(madvise(private, 4096, MADV_WIPEONFORK));
	pid = MUST(fork());
	if (pid == 0)
		_exit(*private);
	reap("wiped", pid);
	return 0;
}
