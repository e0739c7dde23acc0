/* A private mapping of /dev/zero, as old programs get their memory.
 * oracle: mayhome */
#include "victim.h"
int main(void)
{
	int z = MUST(open("/dev/zero", O_RDWR));
	char *zero = mmap(NULL, 8192, 3, MAP_PRIVATE, z, 0);
	TRUE(zero != MAP_FAILED && zero[5000] == 0 && (zero[5000] = 1));
	return 0;
}
