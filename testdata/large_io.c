/* Reads and writes of 20 MiB in one call, through files, pipes and sockets, and vectors of a thousand pieces.
 * oracle: still likewise of a large one, which is made in parts: see docs/unsupported.md */
#include "victim.h"
static unsigned long hash(const unsigned char *p, size_t n)
{
	unsigned long h = 1469598103934665603UL;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211UL;
	return h;
}
enum { N = 20 << 20 };
int main(void)
{
	unsigned char *a = malloc(N), *b = malloc(N);
	for (int i = 0; i < N; i++)
		a[i] = (i * 2654435761u) >> 13;
	int fd = MUST(open("big", O_RDWR | O_CREAT, 0600));
	SHOW(write(fd, a, N));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(read(fd, b, N));
	TRUE(hash(a, N) == hash(b, N));
	SHOW(pread(fd, b, N, N - 5));
	SHOW(pwrite(fd, a, N, 3));
	struct iovec v[1024];
	for (int i = 0; i < 1024; i++)
		v[i] = (struct iovec){a + i * 17000, 16000 + i};
	SHOW(pwritev(fd, v, 1024, 0));
	memset(b, 0, N);
	for (int i = 0; i < 1024; i++)
		v[i].iov_base = b + i * 17000 + 500;
	SHOW(preadv(fd, v, 1024, 0));
	int same = 1;
	for (int i = 0; i < 1024; i++)
		same &= memcmp(a + i * 17000, b + i * 17000 + 500, 16000 + i) == 0;
	TRUE(same);
	int p[2];
	MUST(pipe(p));
	pid_t c = MUST(fork());
	if (c == 0) {
		close(p[0]);
		_exit(write(p[1], a, N) == N ? 0 : 1);
	}
	close(p[1]);
	long got = 0;
	for (long n; (n = read(p[0], b + got, N - got)) > 0;)
		got += n;
	reap("writer", c);
	TRUE(got == N && hash(a, N) == hash(b, N));
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	c = MUST(fork());
	if (c == 0) {
		_exit(send(s[0], a, N, 0) == N ? 0 : 1);
	}
	SHOW(recv(s[1], b, N, MSG_WAITALL));
	TRUE(hash(a, N) == hash(b, N));
	reap("sender", c);
	SHOW(read(fd, b, 0x7fffffff) >= 0);
	SHOW(read(fd, b, (size_t)-1));
	int z = open("/dev/zero", O_RDONLY), nul = open("/dev/null", O_WRONLY);
	SHOW(read(z, b, N));
	SHOW(write(nul, a, N));
	unlink("big");
	return 0;
}
