/* Sixty processes at once, each with a pipe and a child; then two hundred one after the other. */
#include "victim.h"
static int child(void *p)
{
	int *fd = p;
	char b;
	pid_t c = MUST(fork());
	if (c == 0) {
		write(fd[1], "g", 1);
		_exit(1);
	}
	int st;
	waitpid(c, &st, 0);
	return read(fd[0], &b, 1) == 1 && b == 'g' ? WEXITSTATUS(st) : 9;
}
static int quick(void *p) { return (long)p & 0x7f; }
int main(void)
{
	pid_t c[60];
	int fd[2], sum = 0, st, bad = 0;
	for (int i = 0; i < 60; i++) {
		MUST(pipe(fd));
		c[i] = spawn(child, fd);
		close(fd[0]), close(fd[1]);
	}
	for (int i = 0; i < 60; i++) {
		MUST(waitpid(c[i], &st, 0));
		sum += WEXITSTATUS(st);
	}
	printf("sum %d\n", sum);
	for (long i = 0; i < 200; i++) {
		MUST(waitpid(spawn(quick, (void *)i), &st, 0));
		bad += WEXITSTATUS(st) != (i & 0x7f);
	}
	printf("bad %d\n", bad);
	return 0;
}
