// Maps memory, and changes that each time it is told to.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL

int main(int argc, char **argv) {
	(void)argc;
	char *base = (char *)0x300000000000UL;
	int fd = open(argv[0], O_RDONLY), c;
	mmap(base, 256 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	memset(base, 'x', 256 * PAGE);
	mmap(base + 300 * PAGE, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
	printf("ready\n");
	fflush(stdout);
	for (int i = 0; (c = getchar()) == '\n'; i++) {
		char *at = base + 8 * PAGE * i;
		switch (i % 8) {
		case 0: sbrk(5 * PAGE); break;
		case 1: munmap(at, 4 * PAGE); break;
		case 2: mprotect(at, 3 * PAGE, PROT_READ); break;
		case 3: madvise(at, 2 * PAGE, MADV_DONTFORK); break;
		case 4: mremap(at, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, base + 400 * PAGE + 16 * i * PAGE); break;
		case 5: mprotect(base + 300 * PAGE, PAGE, PROT_READ | PROT_WRITE); base[300 * PAGE] = 'y'; break;
		case 6: mmap(at, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE); break;
		case 7: mmap(base - 8 * PAGE * (i + 1), 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
		}
		printf("ready\n");
		fflush(stdout);
	}
	return 0;
}
