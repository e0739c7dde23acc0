/* A tree of 3 levels, 3 children each: parentage, exit statuses, memory of its own. */
#include "victim.h"
static int depth;
static int grow(void *parent)
{
	if (getppid() != *(pid_t *)parent)
		return 100;
	int before = ++depth, sum = 1;
	if (depth == 4)
		return 1;
	pid_t kids[3], me = getpid();
	for (int i = 0; i < 3; i++)
		kids[i] = spawn(grow, &me);
	for (int i = 0; i < 3; i++) {
		int st;
		if (waitpid(kids[i], &st, 0) != kids[i] || !WIFEXITED(st))
			return 101;
		sum += WEXITSTATUS(st);
	}
	return depth == before ? sum : 102;
}
int main(void)
{
	pid_t me = getpid();
	reap("tree", spawn(grow, &me)); /* 1 + 3 + 9 + 27 */
	SHOW(wait(NULL));
	return 0;
}
