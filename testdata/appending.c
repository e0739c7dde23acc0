/* Four processes append to one file by O_APPEND, and count by a lock: nothing is lost or torn. */
#include "victim.h"
#include <sys/file.h>
static int appends(void *p)
{
	char line[64];
	int fd = MUST(open("log", O_WRONLY | O_APPEND | O_CREAT, 0600));
	for (int i = 0; i < 100; i++) {
		int n = snprintf(line, sizeof line, "process %ld line %03d, of full length\n", (long)p, i);
		MUST(write(fd, line, n));
	}
	fd = MUST(open("count", O_RDWR));
	for (int i = 0; i < 50; i++) {
		int v;
		flock(fd, LOCK_EX);
		MUST(pread(fd, &v, sizeof v, 0));
		v++;
		MUST(pwrite(fd, &v, sizeof v, 0));
		flock(fd, LOCK_UN);
	}
	return 0;
}
int main(void)
{
	int v = 0, fd = MUST(open("count", O_RDWR | O_CREAT, 0600));
	MUST(write(fd, &v, sizeof v));
	pid_t c[4];
	for (long i = 0; i < 4; i++)
		c[i] = spawn(appends, (void *)i);
	for (int i = 0; i < 4; i++)
		reap("child", c[i]);
	MUST(pread(fd, &v, sizeof v, 0));
	printf("count %d\n", v);
	FILE *f = fopen("log", "r");
	char line[200];
	int lines = 0, good = 0, next[4] = {0};
	while (fgets(line, sizeof line, f)) {
		long who;
		int k;
		lines++;
		if (sscanf(line, "process %ld line %d, of full length\n", &who, &k) == 2 && k == next[who])
			next[who]++, good++;
	}
	printf("%d lines, %d good\n", lines, good);
	unlink("log");
	return 0;
}
