/* Counts what others send: numbered real-time signals, messages through a socket, lines through a pipe. None is lost, none comes twice, none
 * out of order. Without arguments it sends to itself; `receive` and `send PID` are the two halves, `terminal` echoes numbered lines. */
#include "victim.h"
#include <termios.h>
static long many = 500;
static volatile long signals_;
static volatile pid_t from;
static int came[1 << 16]; /* in which order */
static void hit(int s, siginfo_t *i, void *c)
{
	(void)s, (void)c;
	SAME(i->si_value.sival_int, signals_);
	SAME(i->si_code, SI_QUEUE);
	if (from == 0)
		from = i->si_pid;
	SAME(i->si_pid, from);
	came[signals_ & 0xffff] = i->si_value.sival_int;
	signals_++;
}
static void show_disorder(void)
{
	long first = 0;
	while (first < signals_ && came[first] == first)
		first++;
	for (long i = first; i < signals_ && i < first + 40; i++)
		printf("%d ", came[i]);
	printf("\n");
}
static struct sockaddr_un where(void) { return (struct sockaddr_un){.sun_family = AF_UNIX, .sun_path = "counting.sock"}; }
static int receive(int lines_from)
{
	struct sockaddr_un a = where();
	int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(l, (void *)&a, sizeof a)), MUST(listen(l, 1));
	handle(SIGRTMIN, hit, SA_RESTART);
	printf("ready\n");
	int s = MUST(accept(l, NULL, NULL));
	long messages = 0, lines = 0;
	size_t have = 0;
	char b[4096];
	int open_ = 2;
	struct pollfd f[2] = {{s, POLLIN}, {lines_from, POLLIN}};
	volatile unsigned long work = 0;
	while (open_ || signals_ < many) {
		for (int i = 0; i < 20000; i++)
			work++;
		int r = poll(f, 2, 100);
		if (r == -1) {
			SAME(errno, EINTR); /* by a signal that was counted */
			continue;
		}
		if (r > 0 && f[0].revents) {
			long m[32], n = recv(s, m, sizeof m, MSG_WAITALL);
			EXPECT(n >= 0 && n % sizeof *m == 0);
			for (long i = 0; i < n / (long)sizeof *m; i++)
				SAME(m[i], messages), messages++;
			if (n <= 0)
				f[0].fd = -1, open_--;
		}
		if (r > 0 && f[1].revents) {
			long n = read(lines_from, b + have, 700);
			EXPECT(n >= 0);
			if (n <= 0)
				f[1].fd = -1, open_--;
			else
				have += n;
			for (char *end; (end = memchr(b, '\n', have)); lines++) {
				SAME(atol(b), lines);
				have -= end + 1 - b;
				memmove(b, end + 1, have);
			}
		}
	}
	SAME(have, 0);
	unlink(a.sun_path);
	printf("%ld signals, %ld messages, %ld lines\n", signals_, messages, lines);
	if (victim_faults)
		show_disorder();
	return held("all");
}
static int sends(pid_t to)
{
	struct sockaddr_un a = where();
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	while (connect(s, (void *)&a, sizeof a) == -1)
		wait_ms(5);
	for (long i = 0; i < many; i++) {
		while (sigqueue(to, SIGRTMIN, (union sigval){.sival_int = (int)i}) == -1) {
			SAME(errno, EAGAIN); /* no room for more, as for everybody */
			wait_ms(1);
		}
		SAME(send(s, &i, sizeof i, 0), sizeof i);
		if (i % 16 == 0)
			wait_ms(2);
	}
	close(s);
	return victim_faults;
}
static int writes(void *p)
{
	char b[30];
	for (long i = 0; i < many; i++) {
		int n = snprintf(b, sizeof b, "%ld\n", i);
		SAME(write(*(int *)p, b, n), n);
	}
	return victim_faults;
}
static int signaller(void *p) { return sends(*(pid_t *)p); }
static int terminal(void)
{
	struct termios t;
	char b[64];
	MUST(tcgetattr(0, &t));
	t.c_lflag &= ~ECHO;
	MUST(tcsetattr(0, TCSANOW, &t));
	printf("ready\n");
	for (long i = 0; i < many; i++) {
		long n = read(0, b, sizeof b);
		EXPECT(n > 0);
		SAME(atol(b), i);
		SAME(write(1, b, n), n);
	}
	SAME(read(0, b, sizeof b), 4);
	return held("terminal");
}
int main(int argc, char **argv)
{
	if (getenv("COUNTING"))
		many = atol(getenv("COUNTING"));
	if (argc > 1 && !strcmp(argv[1], "receive"))
		return receive(0);
	if (argc > 1 && !strcmp(argv[1], "send"))
		return sends(atoi(argv[2])) || held("sender");
	if (argc > 1 && !strcmp(argv[1], "terminal"))
		return terminal();
	int p[2];
	pid_t me = getpid();
	MUST(pipe(p));
	block(SIGRTMIN, NULL);
	pid_t a = spawn(signaller, &me), b = spawn(writes, &p[1]);
	close(p[1]);
	handle(SIGRTMIN, hit, SA_RESTART);
	sigset_t s;
	sigemptyset(&s);
	sigprocmask(SIG_SETMASK, &s, NULL);
	int r = receive(p[0]);
	reap("signaller", a), reap("writer", b);
	return r;
}
