/* A writable shared mapping of a file: others see what is written, at once.
 * oracle: home shared */
#include "victim.h"
static int inner(void *p) { volatile char *m = p; int ok = m[0] == 'A'; m[1] = 'B'; return ok; }
int main(void)
{
	int mine = 41;
	char *heap = strdup("still here");
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	MUST(ftruncate(fd, 8192));
	mine++;
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(m != MAP_FAILED);
	m[0] = 'A';
	char b[2];
	SHOW(pread(fd, b, 1, 0));
	printf("%c\n", b[0]);
	reap("child", spawn(inner, m));
	printf("%c %d %s\n", m[1], mine, heap);
	MUST(pwrite(fd, "Z", 1, 5000));
	printf("%c\n", m[5000]);
	SHOW(msync(m, 8192, MS_SYNC));
	return 0;
}
