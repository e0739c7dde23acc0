/* Threads that wait to read: pipes, sockets, eventfd, signalfd, a terminal, a FIFO that is not open yet: each gets what was written. */
#include "victim.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <termios.h>
enum { KINDS = 8 };
static int in[KINDS], out[KINDS];
static char fifo[64];
static volatile int served[KINDS];
static void *reader(void *p)
{
	int k = (int)(long)p;
	for (long n = 0;; n++) {
		char b[200] = "", want[32];
		uint64_t v = 0;
		struct signalfd_siginfo si;
		snprintf(want, sizeof want, "message %ld\n", n);
		int len = strlen(want);
		switch (k) {
		case 0: case 1: case 2: case 6: SAME(read(in[k], b, sizeof b), len); break;
		case 3: /* comes in parts; may be cut short, as by a stop natively */
			for (long have = 0; have < len;) {
				long r = recv(in[k], b + have, len - have, MSG_WAITALL);
				EXPECT(r > 0 && r <= len - have);
				have += r;
			}
			break;
		case 4: SAME(read(in[k], &v, 8), 8), SAME(v, n + 1); break;
		case 5: SAME(read(in[k], &si, sizeof si), sizeof si), SAME(si.ssi_int, n); break;
		case 7: {
			int fd = MUST(open(fifo, O_RDONLY)); /* waits for a writer */
			SAME(read(fd, b, sizeof b), len);
			SAME(read(fd, b + len, 1), 0);
			close(fd);
			MUST(write(out[7], "c", 1));
		}
		}
		if (k != 4 && k != 5)
			EXPECT(!strncmp(b, want, len));
		if (k == 2) { /* readv, the next one */
			served[k]++;
			struct iovec iov[2] = {{b, 4}, {b + 4, 100}};
			SAME(readv(in[k], iov, 2), len);
			EXPECT(!strncmp(b, want, len));
		}
		served[k] += 1;
	}
}
static int writer(void *p)
{
	pid_t to = *(pid_t *)p;
	for (long n = 0; going() || n < 2; n++) {
		char b[64];
		int len = snprintf(b, sizeof b, "message %ld\n", n);
		uint64_t v = n + 1;
		wait_ms(15);
		for (int k = 0; k < 3; k++)
			MUST(write(out[k], b, len));
		MUST(write(out[6], b, len));
		MUST(write(out[4], &v, 8));
		MUST(sigqueue(to, SIGRTMIN + 4, (union sigval){.sival_int = (int)n}));
		MUST(send(out[3], b, 3, 0));
		wait_ms(15);
		MUST(send(out[3], b + 3, len - 3, 0));
		MUST(write(out[2], b, len));
		int fd = MUST(open(fifo, O_WRONLY)); /* waits for a reader */
		MUST(write(fd, b, len));
		close(fd);
		MUST(read(in[7], b, 1)); /* closed at the other end, too */
		struct pollfd f[2] = {{in[4], POLLIN}, {in[6], POLLIN}};
		while (poll(f, 2, 0) > 0) /* an eventfd would add up */
			sched_yield();
	}
	return 0;
}
int main(void)
{
	int p[2];
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, SIGRTMIN + 4);
	sigprocmask(SIG_BLOCK, &s, NULL);
	for (int k = 0; k < 3; k++) {
		if (k == 1)
			MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
		else
			MUST(pipe2(p, k == 2 ? O_DIRECT : 0));
		in[k] = p[0], out[k] = p[1];
	}
	MUST(pipe(p));
	in[7] = p[0], out[7] = p[1];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	in[3] = p[0], out[3] = p[1];
	in[4] = out[4] = MUST(eventfd(0, 0));
	in[5] = MUST(signalfd(-1, &s, 0));
	out[6] = MUST(posix_openpt(O_RDWR | O_NOCTTY));
	MUST(grantpt(out[6])), MUST(unlockpt(out[6]));
	in[6] = MUST(open(ptsname(out[6]), O_RDWR | O_NOCTTY));
	struct termios t;
	MUST(tcgetattr(in[6], &t));
	t.c_lflag &= ~ECHO;
	MUST(tcsetattr(in[6], TCSANOW, &t));
	snprintf(fifo, sizeof fifo, "fifo.%d", getpid());
	MUST(mkfifo(fifo, 0600));
	pid_t me = getpid(), pid = spawn(writer, &me);
	pthread_t th;
	for (long k = 0; k < KINDS; k++)
		pthread_create(&th, NULL, reader, (void *)k);
	reap("writer", pid);
	for (int k = 0, i = 0; k < KINDS; k++) {
		for (; i < 5000 && served[k] < served[7]; i++)
			wait_ms(2);
		EXPECT(served[k] >= 2);
	}
	unlink(fifo);
	fflush(stdout);
	_exit(held("reads"));
}
