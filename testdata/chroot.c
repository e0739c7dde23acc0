/* chroot and its view, by a child that has the right to; everything else sees the old root.
 * oracle: root */
#include "victim.h"
static int inside(void *p)
{
	(void)p;
	SHOW(chroot("jail"));
	SHOW(chdir("/"));
	SHOW(access("/in", F_OK));
	SHOW(access("/bin/sh", F_OK));
	char b[100];
	printf("%s\n", getcwd(b, sizeof b));
	SHOW(execl("/bin/true", "true", NULL));
	return 0;
}
int main(void)
{
	MUST(mkdir("jail", 0755));
	MUST(close(MUST(open("jail/in", O_CREAT | O_WRONLY, 0600))));
	reap("jail", spawn(inside, NULL));
	SHOW(access("/bin/sh", F_OK));
	return 0;
}
