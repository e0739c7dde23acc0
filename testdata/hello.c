/* The smallest program: writes, and exits with a status. */
#include "victim.h"
int main(int argc, char **argv)
{
	(void)argv;
	printf("hello, argc %d\n", argc);
	fprintf(stderr, "and a word on standard error\n");
	return 7;
}
