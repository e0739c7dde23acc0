/* Process groups and sessions: setpgid, getsid, setsid, kill of a group, orphaned groups, errors. */
#include "victim.h"
static int waits(void *p) { (void)p; for (;;) pause(); }
static int own_session(void *p)
{
	(void)p;
	TRUE(setsid() == getpid());
	TRUE(getsid(0) == getpid() && getpgrp() == getpid());
	SHOW(setsid());
	SHOW(open("/dev/tty", O_RDWR));
	SHOW(setpgid(0, 0));
	return 0;
}
int main(void)
{
	TRUE(getsid(0) > 0);
	TRUE(getpgid(0) == getpgrp());
	pid_t a = spawn(waits, NULL), b = spawn(waits, NULL), c = spawn(waits, NULL);
	SHOW(setpgid(a, a));
	SHOW(setpgid(b, a));
	TRUE(getpgid(b) == a && getpgid(c) == getpgrp());
	int st;
	SHOW(kill(-a, SIGSTOP));
	for (int i = 0; i < 2; i++)
		MUST(waitpid(-a, &st, WUNTRACED)), show_status("member", st);
	SHOW(kill(-a, SIGCONT));
	SHOW(killpg(a, SIGTERM));
	for (int i = 0; i < 2; i++)
		MUST(waitpid(-a, &st, 0)), show_status("member", st);
	SHOW(waitpid(-a, &st, 0));
	SHOW(kill(-a, 0));
	SHOW(waitpid(0, &st, WNOHANG));
	kill(c, SIGKILL), reap("outside", c);
	SHOW(setpgid(1, 1));
	SHOW(setpgid(0, -1));
	SHOW(getsid(999999999));
	SHOW(getpgid(999999999));
	reap("session", spawn(own_session, NULL));
	return 0;
}
