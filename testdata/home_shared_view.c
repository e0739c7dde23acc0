/* A shared mapping to read, of a file that is written by other means: every write is seen at once.
 * oracle: home shared */
#include "victim.h"
int main(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	MUST(write(fd, "one", 3));
	volatile char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	TRUE(m[0] == 'o');
	MUST(pwrite(fd, "two", 3, 0));
	TRUE(m[0] == 't');
	pid_t c = MUST(fork());
	if (c == 0) {
		MUST(pwrite(fd, "xyz", 3, 0));
		_exit(0);
	}
	reap("writer", c);
	TRUE(m[0] == 'x');
	SHOW(mprotect((void *)m, 4096, PROT_READ | PROT_WRITE));
	m[0] = 'W';
	char b;
	SHOW(pread(fd, &b, 1, 0));
	TRUE(b == 'W');
	return 0;
}
