/* An ioctl that nobody has heard of: the kernel's own answer.
 * oracle: home ioctl */
#include "victim.h"
#include <sys/ioctl.h>
int main(void)
{
	int p[2], fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	char b[5000] = "";
	MUST(pipe(p));
	SHOW(ioctl(fd, 0xc0de1234, b));
	SHOW(ioctl(p[0], 0x40ff77ff, b));
	SHOW(ioctl(-1, 0xc0de1234, b));
	SHOW(write(p[1], "abc", 3));
	int n;
	SHOW(ioctl(p[0], FIONREAD, &n));
	SHOW(n);
	return 0;
}
