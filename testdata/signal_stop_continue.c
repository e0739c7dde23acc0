/* SIGSTOP and SIGCONT: a stopped child does not run; its blocking calls survive; the parent sees it all with waitpid. */
#include "victim.h"
static int *beat;
static int beats(void *p)
{
	(void)p;
	for (;;) {
		__sync_fetch_and_add(beat, 1);
		wait_ms(1);
	}
}
static int p1[2];
static int reads(void *p)
{
	char b;
	(void)p;
	long n = read(p1[0], &b, 1);
	return n == 1 ? b : 99;
}
static int computes(void *p)
{
	(void)p;
	for (;;)
		__sync_fetch_and_add(beat, 1);
}
static int reads_nothing(void *p)
{
	(void)p;
	setsid();
	pause();
	return 0;
}
int main(void)
{
	int st;
	beat = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int (*kinds[])(void *) = {beats, computes};
	for (int k = 0; k < 2; k++) {
		pid_t c = spawn(kinds[k], NULL);
		setpgid(c, c); /* in an orphaned group SIGTSTP would do nothing */
		while (*(volatile int *)beat == 0)
			wait_ms(1);
		for (int i = 0; i < 3; i++) {
			kill(c, i == 1 ? SIGTSTP : SIGSTOP);
			MUST(waitpid(c, &st, WUNTRACED));
			show_status("child", st);
			int a = *(volatile int *)beat;
			wait_ms(20);
			printf("beats while stopped: %d\n", *(volatile int *)beat - a);
			SHOW(waitpid(c, &st, WNOHANG | WUNTRACED));
			kill(c, SIGCONT);
			MUST(waitpid(c, &st, WCONTINUED));
			show_status("child", st);
			for (int w = 0; w < 2000 && *(volatile int *)beat == a; w++)
				wait_ms(1);
			TRUE(*(volatile int *)beat > a);
		}
		kill(c, SIGSTOP);
		MUST(waitpid(c, &st, WUNTRACED));
		kill(c, SIGTERM);
		SHOW(waitpid(c, &st, WNOHANG));
		kill(c, SIGCONT);
		reap("child", c);
		*beat = 0;
	}
	pid_t o = spawn(reads_nothing, NULL);
	wait_ms(10), kill(o, SIGTSTP), wait_ms(10);
	SHOW(waitpid(o, &st, WNOHANG | WUNTRACED));
	kill(o, SIGTERM), reap("orphaned", o);
	MUST(pipe(p1));
	pid_t c = spawn(reads, NULL);
	wait_ms(20);
	for (int i = 0; i < 3; i++) {
		kill(c, SIGSTOP), MUST(waitpid(c, &st, WUNTRACED));
		kill(c, SIGCONT), MUST(waitpid(c, &st, WCONTINUED));
	}
	MUST(write(p1[1], "*", 1));
	reap("reader", c);
	kill(c = spawn(reads, NULL), SIGSTOP), MUST(waitpid(c, &st, WUNTRACED));
	kill(c, SIGKILL);
	reap("killed while stopped", c);
	return 0;
}
