/* /proc/self/mem is the program's own memory: for that it comes home, and goes on there.
 * oracle: home open of /proc/self/mem */
#include "victim.h"
static volatile long word = 42;
int main(void)
{
	long v = 0;
	int fd;
	SHOW(fd = open("/proc/self/mem", O_RDWR));
	SHOW(pread(fd, &v, sizeof v, (off_t)&word));
	SHOW(v);
	v = 43;
	SHOW(pwrite(fd, &v, sizeof v, (off_t)&word));
	SHOW(word);
	close(fd);
	SHOW(fd = open("/proc/self/pagemap", O_RDONLY));
	uint64_t e = 0;
	SHOW(pread(fd, &e, 8, (uintptr_t)&word / 4096 * 8));
	TRUE(e >> 63);
	SHOW(close(fd));
	return 0;
}
