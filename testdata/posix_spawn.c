/* posix_spawn with file actions and attributes, and its error for a missing program. */
#include "victim.h"
#include <spawn.h>
extern char **environ;
int main(void)
{
	pid_t pid;
	int p[2];
	char buf[100] = "";
	MUST(pipe2(p, O_CLOEXEC));
	posix_spawn_file_actions_t fa;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawnattr_t at;
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	posix_spawnattr_setsigmask(&at, &m);
	char *argv[] = {"sh", "-c", "grep SigBlk /proc/self/status; exit 4", NULL};
	SHOW(posix_spawn(&pid, "/bin/sh", &fa, &at, argv, environ));
	close(p[1]);
	TRUE(getpgid(pid) == pid || errno == ESRCH);
	for (long n, at = 0; (n = read(p[0], buf + at, sizeof buf - at - 1)) > 0; at += n)
		;
	printf("%s", buf);
	reap("sh", pid);
	SHOW(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ) == ENOENT);
	SHOW(posix_spawnp(&pid, "true", NULL, NULL, (char *[]){"true", NULL}, environ));
	reap("true", pid);
	return 0;
}
