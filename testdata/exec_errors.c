/* Every way for execve to fail, after which the program goes on; and shebang scripts. */
#include "victim.h"
static void file(const char *name, const char *text, int mode)
{
	int fd = MUST(open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600));
	MUST(write(fd, text, strlen(text)));
	MUST(fchmod(fd, mode));
	close(fd);
}
static int run(void *name)
{
	char *argv[] = {"zero", "arg", NULL}, *env[] = {"X=1", NULL};
	execve(name, argv, env);
	printf("%s: %s\n", (char *)name, strerrorname_np(errno));
	return 1;
}
int main(void)
{
	file("script", "#!/bin/sh -e\necho \"$0 $1 $X\"\nexit 5\n", 0755);
	file("env", "#!/usr/bin/env sh\necho by env\n", 0755);
	file("noexec", "#!/bin/sh\n", 0644);
	file("text", "echo hi\n", 0755);
	file("empty", "", 0755);
	file("badinterp", "#!/no/such/interp\n", 0755);
	file("nested", "#!./script\n", 0755);
	file("selfloop", "#!./selfloop\n", 0755);
	file("shortelf", "\x7f" "ELF\x02\x01\x01", 0755);
	MUST(mkdir("dir", 0755));
	MUST(symlink("loop", "loop"));
	MUST(symlink("script", "link"));
	char longname[5000];
	memset(longname, 'a', sizeof longname);
	longname[4999] = 0;
	char *names[] = {"./script", "./env", "./noexec", "./text", "./empty", "./badinterp", "./nested", "./selfloop", "./shortelf", "./dir",
	                 "./loop", "./link", "./missing", "./script/x", ""};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		reap(names[i], spawn(run, names[i]));
	char *argv[] = {"x", NULL};
	SHOW(execve(longname, argv, NULL));
	SHOW(execve((char *)8, argv, NULL));
	SHOW(execve("./script", (char **)8, NULL));
	SHOW(execve("./script", argv, (char **)8));
	argv[0] = (char *)16;
	SHOW(execve("./script", argv, NULL));
	SHOW(execveat(-1, "script", argv, NULL, 0));
	int fd = MUST(open("script", O_RDONLY));
	argv[0] = "x";
	pid_t pid = MUST(fork());
	if (pid == 0) {
		execveat(fd, "", argv, (char *[]){"X=2", NULL}, AT_EMPTY_PATH);
		_exit(90);
	}
	reap("execveat", pid);
	return 0;
}
