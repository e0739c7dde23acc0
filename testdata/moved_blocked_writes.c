/* Large writes to something slow: write, writev, sendfile, splice, send, sendmsg; what each says it has written is what arrives, in order. A
 * write may be cut short, as by a stop natively, and is gone on with. */
#include "victim.h"
#include <sys/sendfile.h>
enum { KINDS = 6, SIZE = 700000 };
static unsigned char data[SIZE];
static int ends[KINDS][2], file;
static void *writes(void *p)
{
	int k = (int)(long)p;
	do {
		long n = 0;
		off_t at = 0;
		while (k < 5 && k != 2 && n < SIZE) {
			long rest = SIZE - n, r;
			struct iovec v[3] = {{data + n, rest / 3}, {data + n + rest / 3, rest / 2}};
			v[2].iov_base = data + n + v[0].iov_len + v[1].iov_len, v[2].iov_len = rest - v[0].iov_len - v[1].iov_len;
			struct msghdr m = {.msg_iov = v, .msg_iovlen = 3};
			r = k == 0 ? write(ends[k][1], data + n, rest) : k == 1 ? writev(ends[k][1], v, 3) :
				k == 3 ? send(ends[k][1], data + n, rest, 0) : sendmsg(ends[k][1], &m, 0);
			MUST(r);
			EXPECT(r > 0 && r <= rest);
			n += r;
		}
		switch (k) {
		case 2:
			while (at < SIZE) /* as much as the pipe takes at a time */
				n += MUST(sendfile(ends[k][1], file, &at, SIZE - at));
			break;
		case 5: {
			loff_t off = 0;
			while (off < SIZE)
				n += MUST(splice(file, &off, ends[k][1], NULL, SIZE - off, 0));
		}
		}
		SAME(n, SIZE);
	} while (going());
	shutdown(ends[k][1], SHUT_WR), close(ends[k][1]);
	return NULL;
}
static int reads(void *p)
{
	static unsigned char b[30011];
	long at[KINDS] = {0};
	int open_ = KINDS;
	(void)p;
	for (int k = 0; k < KINDS; k++)
		close(ends[k][1]);
	while (open_)
		for (int k = 0; k < KINDS; k++) {
			long n = at[k] < 0 ? 0 : MUST(read(ends[k][0], b, sizeof b));
			if (at[k] >= 0 && n == 0) {
				EXPECT(at[k] > 0 && at[k] % SIZE == 0);
				at[k] = -1, open_--;
			}
			for (long i = 0; i < n; i++, at[k]++)
				if (b[i] != data[at[k] % SIZE]) {
					SAME(at[k] * 10 + k, -1);
					return 1;
				}
			if (k == 0)
				wait_ms(2);
		}
	return victim_faults;
}
int main(void)
{
	for (long i = 0; i < SIZE; i++)
		data[i] = (i * 2654435761u) >> 17;
	file = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));
	MUST(write(file, data, SIZE));
	for (int k = 0; k < KINDS; k++)
		if (k == 3 || k == 4)
			MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[k]));
		else
			MUST(pipe(ends[k]));
	for (int k = 3; k < 5; k++) { /* the reader reads from the first */
		int v = 100000;
		MUST(setsockopt(ends[k][1], SOL_SOCKET, SO_SNDBUF, &v, sizeof v));
	}
	pid_t pid = spawn(reads, NULL);
	for (int k = 0; k < KINDS; k++)
		close(ends[k][0]);
	threads(KINDS, writes);
	reap("reader", pid);
	unlink("file");
	return held("writes");
}
