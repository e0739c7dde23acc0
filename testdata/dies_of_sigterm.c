/* The program itself dies of SIGTERM: whoever started it sees that.
 */
#include "victim.h"
int main(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	printf("about to die\n");
	raise(SIGTERM);
	printf("still here\n");
	return 0;
}
