/* Bytes through pipes between threads and processes, in odd sizes, never read up: none is lost, none comes twice, none out of order. */
#include "victim.h"
#include <sys/ioctl.h>
static unsigned char byte(unsigned long i) { return (i * 2654435761u) >> 13; }
static int ends[3][2];
static volatile long written[3], got[3];
static void writes(int k)
{
	unsigned char b[9000];
	unsigned long pos = 0, x = k + 1;
	do {
		x = x * 6364136223846793005UL + 1;
		long n = 1 + (x >> 40) % (k == 2 ? 4000 : sizeof b);
		for (long i = 0; i < n; i++)
			b[i] = byte(pos + i);
		for (long done = 0; done < n;) {
			long w;
			if (k == 1) {
				struct iovec v[3] = {{b + done, (n - done) / 3}, {b + done + (n - done) / 3, (n - done) / 2}};
				v[2].iov_base = b + done + v[0].iov_len + v[1].iov_len, v[2].iov_len = n - done - v[0].iov_len - v[1].iov_len;
				w = MUST(writev(ends[k][1], v, 3));
			} else
				w = MUST(write(ends[k][1], b + done, n - done));
			EXPECT(w > 0 && w <= n - done); /* may be cut short, as by a stop natively */
			done += w;
		}
		pos += n;
	} while (going());
	written[k] = pos;
	close(ends[k][1]);
}
static void reads(int k)
{
	unsigned char b[7001];
	unsigned long pos = 0, x = k + 77;
	for (;;) {
		x = x * 6364136223846793005UL + 1;
		long n = MUST(read(ends[k][0], b, 1 + (x >> 41) % sizeof b));
		if (n == 0)
			break;
		for (long i = 0; i < n; i++, pos++)
			if (b[i] != byte(pos)) {
				SAME(pos, -1);
				exit(1);
			}
	}
	got[k] = pos;
}
static int other(void *p)
{
	(void)p;
	close(ends[1][1]), close(ends[2][0]);
	pthread_t t;
	pthread_create(&t, NULL, (void *(*)(void *))(void *)reads, (void *)1L);
	writes(2);
	pthread_join(t, NULL);
	printf("other wrote and read\n");
	SAME(written[2] > 1000 && got[1] > 1000, 1);
	return victim_faults;
}
static void *run(void *p)
{
	if ((long)p == 0)
		writes(0);
	else if ((long)p == 1)
		writes(1);
	else if ((long)p == 2)
		reads(0);
	else
		reads(2);
	return NULL;
}
int main(void)
{
	int half[2], left;
	char b[16];
	for (int k = 0; k < 3; k++)
		MUST(pipe(ends[k]));
	MUST(pipe(half));
	MUST(write(half[1], "half of this is read before", 27));
	SAME(read(half[0], b, 13), 13);
	long size = MUST(fcntl(half[0], F_SETPIPE_SZ, 8192));
	pid_t pid = spawn(other, NULL);
	close(ends[2][1]), close(ends[1][0]);
	threads(4, run);
	SAME(written[0], got[0]);
	EXPECT(got[2] > 1000 && written[1] > 1000);
	MUST(ioctl(half[0], FIONREAD, &left));
	SAME(left, 14), SAME(fcntl(half[1], F_GETPIPE_SZ), size);
	SAME(read(half[0], b, 14), 14);
	EXPECT(!memcmp(b, " is read before" + 1, 14));
	reap("other", pid);
	return held("pipes");
}
