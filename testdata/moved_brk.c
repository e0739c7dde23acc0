/* The program break: up and down, contents kept, new pages zero, calls that ask and calls that fail. */
#include "victim.h"
int main(void)
{
	unsigned long seed = 1;
	char *base = sbrk(0), *top = base;
	long size = 0;
	do {
		seed = seed * 6364136223846793005UL + 1;
		long to = seed >> 43, last = size; /* up to 2 MiB */
		char *was = sbrk(to - size);
		EXPECT(was == top);
		size = to, top = base + to;
		EXPECT(sbrk(0) == top);
		for (long i = last; i < size; i++) {
			if ((unsigned long)(base + i) >= ((unsigned long)base + last + 4095) / 4096 * 4096)
				EXPECT(base[i] == 0);
			base[i] = (char)(i * 7 >> 3);
		}
		for (volatile long i = 0; i < 100000; i++)
			;
		for (long i = 0; i < size; i += 61)
			SAME(base[i], (char)(i * 7 >> 3));
		SAME(syscall(SYS_brk, 0), top);
		SAME(syscall(SYS_brk, -4096L), top);
	} while (going());
	struct rlimit l = {size + (8 << 20), RLIM_INFINITY};
	MUST(setrlimit(RLIMIT_DATA, &l));
	wait_ms(60);
	GAVE(sbrk(256 << 20), -1, ENOMEM);
	EXPECT(sbrk(0) == top);
	return held("brk");
}
