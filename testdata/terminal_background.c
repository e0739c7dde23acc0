/* What a terminal answers a background process, by whether it blocks or ignores SIGTTIN and SIGTTOU. */
#include "victim.h"
#include <termios.h>
static int tty;
static void mask(int how)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGTTIN);
	sigaddset(&s, SIGTTOU);
	MUST(sigprocmask(how, &s, NULL));
}
static void pending(void)
{
	sigset_t s;
	MUST(sigpending(&s));
	TRUE(sigismember(&s, SIGTTIN) || sigismember(&s, SIGTTOU));
}
static int blocks(void *p)
{
	char c;
	struct termios t;
	(void)p;
	MUST(setpgid(0, 0));
	mask(SIG_BLOCK);
	SHOW(read(tty, &c, 1));
	SHOW(tcgetattr(tty, &t));
	t.c_lflag |= TOSTOP;
	SHOW(tcsetattr(tty, TCSANOW, &t));
	SHOW(write(tty, "x", 1));
	TRUE(tcgetpgrp(tty) == getpgrp());
	SHOW(tcsetpgrp(tty, getpgrp()));
	TRUE(tcgetpgrp(tty) == getpgrp());
	pending();
	mask(SIG_UNBLOCK);
	pending();
	SHOW(tcsetpgrp(tty, getppid()));
	return 0;
}
static int ignores(void *p)
{
	char c;
	(void)p;
	MUST(setpgid(0, 0));
	signal(SIGTTIN, SIG_IGN), signal(SIGTTOU, SIG_IGN);
	SHOW(read(tty, &c, 1));
	SHOW(write(tty, "x", 1));
	SHOW(tcsetpgrp(tty, getpgrp()));
	SHOW(tcsetpgrp(tty, getppid()));
	return 0;
}
/* The first of these is stopped; brought to the foreground and continued, it goes on. */
static int defaults(void *p)
{
	(void)p;
	MUST(setpgid(0, 0));
	SHOW(tcsetpgrp(tty, getpgrp()));
	SHOW(tcsetpgrp(tty, getppid()));
	return 0;
}
static int session(void *name)
{
	int st;
	MUST(setsid());
	tty = MUST(open(name, O_RDWR));
	SHOW(tcsetpgrp(tty, getpgrp()));
	reap("blocks", spawn(blocks, NULL));
	reap("ignores", spawn(ignores, NULL));
	pid_t pid = spawn(defaults, NULL);
	MUST(waitpid(pid, &st, WUNTRACED)), show_status("defaults", st);
	TRUE(tcgetpgrp(tty) == getpgrp());
	signal(SIGTTOU, SIG_IGN);
	SHOW(tcsetpgrp(tty, pid));
	MUST(kill(pid, SIGCONT));
	reap("defaults", pid);
	return 0;
}
int main(void)
{
	int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
	SHOW(grantpt(master));
	SHOW(unlockpt(master));
	reap("session", spawn(session, ptsname(master)));
	return 0;
}
