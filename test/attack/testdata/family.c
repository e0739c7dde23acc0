/* Processes that share memory. The first to be killed is told by its parent, which then ends all. */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	volatile long *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child[4];
	for (int i = 0; i < 4; i++)
		if ((child[i] = fork()) == 0)
			for (;;) {
				count[i]++;
				usleep(500);
			}
	printf("%d %d\n", getpid(), child[2]);
	fflush(stdout);
	int status;
	pid_t who = wait(&status);
	printf("%d\n", who == child[2] && WIFSIGNALED(status) ? WTERMSIG(status) : -1);
	for (int i = 0; i < 4; i++)
		kill(child[i], SIGKILL);
	return 0;
}
