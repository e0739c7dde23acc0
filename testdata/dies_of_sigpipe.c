/* The program itself dies of SIGPIPE: whoever started it sees that.
 */
#include "victim.h"
int main(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	printf("about to die\n");
	int p[2];
	MUST(pipe(p));
	close(p[0]);
	SHOW(write(p[1], "x", 1));
	printf("still here\n");
	return 0;
}
