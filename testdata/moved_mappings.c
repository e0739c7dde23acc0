/* Mappings come, grow, shrink, wander and go; what a file's private mapping holds and what was written to it; the layout is what it was. */
#include "victim.h"
#define MAPS 24
static struct { unsigned char *at; long pages; unsigned long seed; } m[MAPS];
static unsigned char want(unsigned long seed, long page) { return (seed * 31 + page * 7) >> 3 | 1; }
static void fill(int i, long from)
{
	for (long p = from; p < m[i].pages; p++)
		if (p % 3) /* some pages are never touched */
			m[i].at[p * 4096 + p % 4096] = want(m[i].seed, p);
}
static void check(int i)
{
	for (long p = 0; p < m[i].pages; p++) {
		SAME(m[i].at[p * 4096 + p % 4096], p % 3 ? want(m[i].seed, p) : 0);
		SAME(m[i].at[p * 4096 + (p + 1) % 4096], 0);
	}
}
/* layout is /proc/self/maps without what a kernel places for itself. */
static int layout(char *b, int size)
{
	static char all[65536];
	int fd = MUST(open("/proc/self/maps", O_RDONLY)), n = 0, k;
	while ((k = MUST(read(fd, all + n, sizeof all - 1 - n))) > 0)
		n += k;
	close(fd);
	all[n] = n = 0;
	for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n"))
		if (!strstr(line, "[v") && !strstr(line, "[stack]")) {
			char *name = strrchr(line, ' ');
			n += snprintf(b + n, size - n, "%.*s%s\n", (int)strcspn(line, " ") + 5, line, name);
		}
	return n;
}
int main(int argc, char **argv)
{
	static char first[65536], again[65536];
	unsigned long x = 17;
	(void)argc;
	int fd = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));
	for (int i = 0; i < 16 * 4096; i++)
		again[i] = (char)(i / 4096 + i);
	MUST(write(fd, again, 16 * 4096));
	unsigned char *file = mmap(NULL, 20 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	unsigned char *part = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 5 * 4096);
	close(fd);
	for (int i = 0; i < 16; i += 3)
		file[i * 4096 + 9] = 200 + i;
	for (int i = 0; i < MAPS; i++) {
		m[i].pages = 3 + i * 5, m[i].seed = x += 77;
		m[i].at = mmap(NULL, m[i].pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fill(i, 0);
	}
	do {
		layout(first, sizeof first);
		wait_ms(2);
		for (volatile long i = 0; i < 1000000; i++)
			;
		layout(again, sizeof again);
		for (int i = 0; i < 20 && strcmp(first, again) != 0; i++) /* it is read in parts, between which the process may leave */
			layout(first, sizeof first), layout(again, sizeof again);
		if (strcmp(first, again) != 0) {
			char *a = strtok(first, "\n");
			EXPECT(!"the layout is the same");
			for (char *p = again; a && strncmp(a, p, strlen(a)) == 0; a = strtok(NULL, "\n"))
				p += strlen(a) + 1;
			if (victim_faults < 5)
				printf("%s\n", a ? a : "more lines");
		}
		for (int k = 0; k < 6; k++) {
			x = x * 6364136223846793005UL + 1;
			int i = (x >> 33) % MAPS;
			long to = 1 + (x >> 40) % 150, had = m[i].pages;
			check(i);
			switch ((x >> 50) % 4) {
			case 0:
				MUST(munmap(m[i].at, m[i].pages * 4096));
				m[i].pages = to, m[i].seed = x;
				m[i].at = mmap(NULL, to * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (x >> 52 & 1) * MAP_NORESERVE, -1, 0);
				fill(i, 0);
				break;
			case 1:
				m[i].at = mremap(m[i].at, had * 4096, to * 4096, MREMAP_MAYMOVE);
				m[i].pages = to;
				fill(i, had);
				break;
			case 2: { /* elsewhere, over another mapping that goes */
				unsigned char *at = mmap(NULL, had * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				m[i].at = mremap(m[i].at, had * 4096, had * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at);
				break;
			}
			case 3:
				MUST(madvise(m[i].at, had * 4096, MADV_DONTNEED));
				fill(i, 0);
			}
			check(i);
		}
		for (int i = 0; i < 16; i++) {
			SAME(file[i * 4096 + 9], i % 3 ? (unsigned char)(i + i * 4096 + 9) : 200 + i);
			SAME(file[i * 4096 + 10], (unsigned char)(i + i * 4096 + 10));
		}
		SAME(part[9], (unsigned char)(5 + 9));
		static volatile int data = 5;
		SAME(data, 5);
	} while (going());
	(void)argv;
	return held("mappings");
}
