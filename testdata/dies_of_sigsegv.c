/* The program itself dies of SIGSEGV: whoever started it sees that.
 * oracle: mayhome
 */
#include "victim.h"
int main(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	printf("about to die\n");
	*(volatile int *)8 = 1;
	printf("still here\n");
	return 0;
}
