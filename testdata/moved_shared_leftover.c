/* What a process that has ended left in shared anonymous memory is still there for those that share it, wherever they are. */
#include "victim.h"
int main(void)
{
	const int size = 8 << 20;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(m == MAP_FAILED ? -1 : 0);
	int bad = 0;
	for (int round = 0; round < 12; round++) {
		pid_t k = MUST(fork());
		if (k == 0) {
			for (int i = round * 4096; i < size; i += 64 << 10)
				m[i] = round + 1;
			_exit(0);
		}
		MUST(waitpid(k, NULL, 0));
		wait_ms(60);
	}
	for (int round = 0; round < 12; round++)
		for (int i = round * 4096; i < size; i += 64 << 10)
			bad += m[i] != round + 1;
	printf("bad %d\n", bad);
	return 0;
}
