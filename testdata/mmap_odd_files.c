/* Mappings of what is no regular file: /dev/zero, as old programs get their memory; a directory, a pipe.
 * oracle: mayhome */
#include "victim.h"
int main(void)
{
	int z = MUST(open("/dev/zero", O_RDWR));
	char *zero = mmap(NULL, 8192, 3, MAP_PRIVATE, z, 0);
	TRUE(zero != MAP_FAILED && zero[5000] == 0 && (zero[5000] = 1));
	int p[2];
	MUST(pipe(p));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, MUST(open(".", O_RDONLY)), 0));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, p[0], 0));
	return 0;
}
