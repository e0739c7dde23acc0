/* A file of 40 MiB mapped and read in random order; 96 MiB of anonymous memory with a pattern, forked, mremapped. */
#include "victim.h"
int main(void)
{
	const size_t n = 40 << 20;
	int fd = MUST(open("large", O_RDWR | O_CREAT, 0600));
	unsigned *b = malloc(n);
	for (size_t i = 0; i < n / 4; i++)
		b[i] = i * 2654435761u;
	for (size_t at = 0; at < n;)
		at += MUST(write(fd, (char *)b + at, n - at));
	unsigned *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0), x = 1, wrong = 0;
	for (int i = 0; i < 300000; i++) {
		x = x * 1664525 + 1013904223;
		size_t k = x % (n / 4);
		wrong += p[k] != k * 2654435761u;
	}
	printf("wrong in the file: %u\n", wrong);
	const size_t m = 96 << 20;
	unsigned *q = mmap(NULL, m, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < m / 4; i += 16)
		q[i] = i;
	pid_t c = MUST(fork());
	if (c == 0) {
		for (size_t i = 0; i < m / 4; i += 16)
			q[i]++;
		_exit(0);
	}
	reap("child", c);
	wrong = 0;
	q = mremap(q, m, 2 * m, MREMAP_MAYMOVE);
	for (size_t i = 0; i < m / 4; i += 16)
		wrong += q[i] != i;
	printf("wrong in memory: %u\n", wrong);
	unlink("large");
	return 0;
}
