/* A session with its terminal: who leads, who is in the foreground, modes, typed-ahead lines, Ctrl-C and Ctrl-Z, a job that is stopped and goes on. */
#include "victim.h"
#include <sys/ioctl.h>
#include <termios.h>
static int master, tty;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)s, (void)i, (void)c;
	MUST(write(tty, "int\n", 4));
}
static int job(void *p)
{
	char b[64];
	(void)p;
	MUST(setpgid(0, 0));
	signal(SIGTTOU, SIG_IGN);
	MUST(tcsetpgrp(tty, getpgrp()));
	signal(SIGTTOU, SIG_DFL);
	handle(SIGINT, hit, SA_RESTART);
	MUST(write(tty, "ready\n", 6));
	int n = 0;
	for (;;) {
		long r = read(tty, b, sizeof b);
		SAME(tcgetpgrp(tty), getpgrp());
		if (r == 0)
			return victim_faults; /* Ctrl-D */
		else {
			char want[32];
			snprintf(want, sizeof want, "line %d\n", n++);
			SAME(r, strlen(want));
			EXPECT(!memcmp(b, want, r));
			MUST(write(tty, "got\n", 4));
		}
	}
}
static void shows(const char *want)
{
	char b[256];
	size_t n = 0;
	while (n < strlen(want)) {
		long r = MUST(read(master, b + n, strlen(want) - n));
		n += r;
	}
	b[n] = 0;
	if (strcmp(b, want) != 0 && __sync_fetch_and_add(&victim_faults, 1) < 5)
		printf("the terminal shows %s, not %s\n", b, want);
}
static int go[2];
static int session(void *name)
{
	struct termios t, u;
	int st;
	MUST(setsid());
	tty = MUST(open(name, O_RDWR));
	signal(SIGTTOU, SIG_IGN);
	MUST(tcgetattr(tty, &t));
	t.c_lflag = (t.c_lflag & ~ECHO) | NOFLSH, t.c_oflag &= ~OPOST, t.c_cc[VINTR] = 3, t.c_cc[VSUSP] = 26;
	MUST(tcsetattr(tty, TCSANOW, &t));
	pid_t pid = spawn(job, NULL);
	for (;;) {
		SAME(waitpid(pid, &st, WUNTRACED | WCONTINUED), pid);
		if (!WIFSTOPPED(st))
			break;
		SAME(WSTOPSIG(st), SIGTSTP);
		MUST(tcsetpgrp(tty, getpgrp()));
		SAME(getsid(0), getpid()), SAME(tcgetsid(tty), getpid());
		MUST(tcgetattr(tty, &u));
		EXPECT(!memcmp(&t, &u, sizeof t));
		wait_ms(5);
		MUST(tcsetpgrp(tty, pid));
		MUST(kill(-pid, SIGCONT));
		SAME(waitpid(pid, &st, WUNTRACED | WCONTINUED), pid);
		SAME(WIFCONTINUED(st), 1);
		MUST(write(go[1], "c", 1));
	}
	SAME(st, 0);
	return victim_faults;
}
int main(void)
{
	struct winsize w = {33, 77, 0, 0}, v;
	char b[32], c;
	MUST(pipe(go));
	master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
	MUST(grantpt(master)), MUST(unlockpt(master));
	MUST(ioctl(master, TIOCSWINSZ, &w));
	pid_t pid = spawn(session, ptsname(master));
	shows("ready\n");
	int n = 0;
	do {
		for (int k = 0; k < 3; k++, n++) {
			snprintf(b, sizeof b, "line %d\n", n);
			MUST(write(master, b, strlen(b)));
			shows("got\n");
		}
		MUST(write(master, "\x03", 1));
		shows("int\n");
		MUST(write(master, "\x1a", 1));
		SAME(read(go[0], &c, 1), 1);
		MUST(ioctl(master, TIOCGWINSZ, &v));
		SAME(v.ws_row, 33), SAME(v.ws_col, 77);
	} while (going());
	MUST(write(master, "\x04", 1));
	reap("session", pid);
	return held("terminal");
}
