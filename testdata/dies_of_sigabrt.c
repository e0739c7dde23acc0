/* The program itself dies of SIGABRT: whoever started it sees that.
 * oracle: mayhome
 */
#include "victim.h"
int main(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	printf("about to die\n");
	abort();
	printf("still here\n");
	return 0;
}
