/* sendfile, splice, tee, copy_file_range, preadv/pwritev: data and offsets. */
#include "victim.h"
#include <sys/sendfile.h>
int main(void)
{
	int a = MUST(open("a", O_RDWR | O_CREAT, 0600)), b = MUST(open("b", O_RDWR | O_CREAT, 0600)), p[2], q[2];
	static char buf[300000], back[300000];
	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = i * 7 + i / 251;
	MUST(write(a, buf, sizeof buf));
	off_t off = 100;
	SHOW(sendfile(b, a, &off, 5000));
	SHOW(off);
	SHOW(lseek(a, 0, SEEK_CUR));
	lseek(a, 10, SEEK_SET);
	SHOW(sendfile(b, a, NULL, 100));
	SHOW(lseek(a, 0, SEEK_CUR));
	loff_t in = 0, out = 8192;
	SHOW(copy_file_range(a, &in, b, &out, 100000, 0));
	SHOW(in), SHOW(out);
	MUST(pread(b, back, 100000, 8192));
	TRUE(memcmp(back, buf, 100000) == 0);
	MUST(pipe(p)), MUST(pipe(q));
	in = 1000;
	SHOW(splice(a, &in, p[1], NULL, 20000, 0));
	SHOW(tee(p[0], q[1], 5000, 0));
	SHOW(read(q[0], back, sizeof back));
	TRUE(memcmp(back, buf + 1000, 5000) == 0);
	out = 0;
	SHOW(splice(p[0], NULL, b, &out, 20000, 0));
	SHOW(splice(p[0], NULL, b, &out, 1, SPLICE_F_NONBLOCK));
	SHOW(splice(a, NULL, b, NULL, 1, 0));
	MUST(pread(b, back, 20000, 0));
	TRUE(memcmp(back, buf + 1000, 20000) == 0);
	struct iovec v[3] = {{buf, 10}, {buf + 100, 0}, {buf + 5000, 6000}};
	SHOW(pwritev(b, v, 3, 50));
	struct iovec w[2] = {{back, 10}, {back + 100, 7000}};
	SHOW(preadv(b, w, 2, 50));
	TRUE(memcmp(back + 100, buf + 5000, 6000) == 0);
	SHOW(preadv2(b, w, 2, -1, 0) >= 0);
	SHOW(pwritev2(b, v, 3, 0, RWF_APPEND | RWF_DSYNC));
	SHOW(lseek(b, 0, SEEK_END));
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	off = 0;
	SHOW(sendfile(s[0], a, &off, 30000));
	SHOW(recv(s[1], back, 30000, MSG_WAITALL));
	TRUE(memcmp(back, buf, 30000) == 0);
	return 0;
}
