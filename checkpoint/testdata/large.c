// Has as many MiB of memory as it is told, and waits.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0;
	if (n != 0) memset(malloc(n), 1, n);
	puts("ready");
	fflush(stdout);
	char c;
	return read(0, &c, 1) == 0 ? 0 : 1;
}
