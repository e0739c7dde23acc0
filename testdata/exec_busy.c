/* A file open for writing cannot be executed: ETXTBSY; nor can a running program be written. */
#include "victim.h"
int main(int argc, char **argv)
{
	(void)argc;
	char *args[] = {"true", NULL};
	int in = MUST(open("/bin/true", O_RDONLY)), out = MUST(open("copy", O_CREAT | O_WRONLY, 0755));
	char buf[65536];
	for (long n; (n = read(in, buf, sizeof buf)) > 0;)
		MUST(write(out, buf, n));
	SHOW(execve("./copy", args, NULL));
	close(out);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		execve("./copy", args, NULL);
		_exit(9);
	}
	reap("copy", pid);
	(void)argv;
	unlink("copy");
	return 0;
}
