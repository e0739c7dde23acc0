/* SIGCHLD: one for each way a child changes state, with code, status, pid, uid; SA_NOCLDSTOP, SA_NOCLDWAIT, SIG_IGN. */
#include "victim.h"
static volatile siginfo_t last;
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)c; *(siginfo_t *)&last = *i; hits++; }
static void show(const char *what, pid_t from)
{
	for (int i = 0; i < 2000 && !hits; i++)
		wait_ms(1);
	printf("%s: hits %d code %d status %d from it %d uid %d\n", what, hits, last.si_code, last.si_status, last.si_pid == from, last.si_uid == getuid());
	hits = 0;
}
static int returns(void *p) { return (long)p; }
static int waits(void *p) { (void)p; for (;;) pause(); }
int main(void)
{
	handle(SIGCHLD, hit, 0);
	pid_t p = spawn(returns, (void *)12);
	show("exited", p), reap("exited", p);
	p = spawn(waits, NULL);
	kill(p, SIGSTOP), show("stopped", p);
	int st;
	MUST(waitpid(p, &st, WUNTRACED)), show_status("stopped", st);
	kill(p, SIGCONT), show("continued", p);
	MUST(waitpid(p, &st, WCONTINUED)), show_status("continued", st);
	kill(p, SIGKILL), show("killed", p), reap("killed", p);
	handle(SIGCHLD, hit, SA_NOCLDSTOP);
	p = spawn(waits, NULL);
	kill(p, SIGSTOP);
	MUST(waitpid(p, &st, WUNTRACED)), show_status("stopped", st);
	kill(p, SIGCONT);
	MUST(waitpid(p, &st, WCONTINUED)), show_status("continued", st);
	printf("without stops: %d\n", hits);
	kill(p, SIGTERM), show("terminated", p), reap("terminated", p);
	handle(SIGCHLD, hit, SA_NOCLDWAIT);
	p = spawn(returns, (void *)1);
	show("not kept", p);
	while (waitpid(p, &st, 0) == -1 && errno == EINTR)
		;
	printf("%s\n", strerrorname_np(errno));
	signal(SIGCHLD, SIG_IGN);
	hits = 0;
	p = spawn(returns, (void *)1);
	SHOW(waitpid(-1, &st, 0));
	printf("ignored: %d\n", hits);
	signal(SIGCHLD, SIG_DFL);
	p = spawn(returns, (void *)2);
	siginfo_t si = {0};
	SHOW(waitid(P_PID, p, &si, WEXITED | WNOWAIT));
	printf("code %d status %d it %d\n", si.si_code, si.si_status, si.si_pid == p);
	si.si_pid = 0;
	SHOW(waitid(P_PID, p, &si, WEXITED));
	printf("code %d status %d it %d\n", si.si_code, si.si_status, si.si_pid == p);
	SHOW(waitid(P_PID, p, &si, WEXITED));
	p = spawn(waits, NULL);
	si.si_pid = 1;
	SHOW(waitid(P_PID, p, &si, WEXITED | WNOHANG));
	printf("pid %d\n", si.si_pid);
	SHOW(waitid(P_PID, p, &si, 0));
	SHOW(waitpid(p, &st, WNOHANG));
	kill(p, SIGKILL), reap("last", p);
	return 0;
}
