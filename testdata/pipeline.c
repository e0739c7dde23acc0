/* Three processes in a pipeline, 4 MiB through it, summed at the end. */
#include "victim.h"
int main(void)
{
	int a[2], b[2];
	MUST(pipe(a));
	MUST(pipe(b));
	pid_t one = MUST(fork());
	if (one == 0) {
		static unsigned char buf[7001];
		close(a[0]), close(b[0]), close(b[1]);
		long left = 4 << 20;
		for (unsigned k = 1; left > 0;) {
			size_t n = left < (long)sizeof buf ? left : (long)sizeof buf;
			for (size_t i = 0; i < n; i++)
				buf[i] = k = k * 1103515245 + 12345;
			for (size_t at = 0; at < n;)
				at += MUST(write(a[1], buf + at, n - at));
			left -= n;
		}
		_exit(0);
	}
	pid_t two = MUST(fork());
	if (two == 0) {
		static unsigned char buf[4096];
		close(a[1]), close(b[0]);
		for (long n; (n = MUST(read(a[0], buf, sizeof buf))) > 0;) {
			for (long i = 0; i < n; i++)
				buf[i] ^= 0x5a;
			for (long at = 0; at < n;)
				at += MUST(write(b[1], buf + at, n - at));
		}
		_exit(0);
	}
	close(a[0]), close(a[1]), close(b[1]);
	static unsigned char buf[65536];
	unsigned long sum = 0, total = 0;
	for (long n; (n = MUST(read(b[0], buf, sizeof buf))) > 0; total += n)
		for (long i = 0; i < n; i++)
			sum = sum * 31 + buf[i];
	printf("%lu bytes, sum %lx\n", total, sum);
	reap("one", one);
	reap("two", two);
	return 0;
}
