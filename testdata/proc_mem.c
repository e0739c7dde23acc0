/* /proc/self/mem: the program's own memory as a file, with the rights of a debugger.
 * oracle: mayhome */
#include "victim.h"
static volatile int global = 77;
static const volatile int constant = 5;
int main(void)
{
	int fd = MUST(open("/proc/self/mem", O_RDWR)), x = 0, y = 78;
	SHOW(pread(fd, &x, 4, (off_t)(uintptr_t)&global));
	SHOW(x);
	SHOW(pwrite(fd, &y, 4, (off_t)(uintptr_t)&global));
	SHOW(global);
	SHOW(pwrite(fd, &y, 4, (off_t)(uintptr_t)&constant));
	SHOW(constant);
	SHOW(pread(fd, &x, 4, 8));
	return 0;
}
