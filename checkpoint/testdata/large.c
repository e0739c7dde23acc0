// Has as many MiB of memory as it is told, of huge pages if it is told that, and
// waits.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	char *p = n == 0 ? NULL : aligned_alloc(2 << 20, n);
	if (argc > 2) madvise(p, n, MADV_HUGEPAGE);
	if (n != 0) memset(p, 1, n);
	puts("ready");
	fflush(stdout);
	char c;
	if (read(0, &c, 1) != 0) return 1;
	for (size_t i = 0; i < n; i++)
		if (p[i] != 1) return 2;
	return 0;
}
