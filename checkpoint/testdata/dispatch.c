// Has system calls from elsewhere than the C library turned into signals.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
	static char selector; // SYSCALL_DISPATCH_FILTER_ALLOW
	if (prctl(59, 1, 0, 0, &selector) != 0) puts("without");
	else puts("with");
	fflush(stdout);
	char c;
	return read(0, &c, 1) == 0 ? 0 : 1;
}
