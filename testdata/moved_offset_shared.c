/* One open file, one offset, for parent, child and duplicates: each byte is read once, each record appended once; flags and owner are shared. */
#include "victim.h"
enum { RECORDS = 300000, SIZE = 16 };
static int in, out;
static volatile long *sum, *count;
static int reads(void *p)
{
	char b[SIZE + 1] = "";
	(void)p;
	do {
		long n = MUST(read(in, b, SIZE));
		if (n == 0)
			break;
		SAME(n, SIZE);
		__sync_fetch_and_add(sum, atol(b));
		__sync_fetch_and_add(count, 1);
		MUST(write(out, b, SIZE));
		for (volatile int i = 0; i < 100000; i++)
			;
	} while (going() || *count <= 100);
	return victim_faults;
}
int main(void)
{
	char b[SIZE + 1];
	static char all[RECORDS * SIZE];
	sum = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), count = sum + 1;
	for (long i = 0; i < RECORDS; i++)
		snprintf(b, sizeof b, "%015ld\n", i), memcpy(all + i * SIZE, b, SIZE);
	in = MUST(open("in", O_RDWR | O_CREAT | O_TRUNC, 0600));
	MUST(write(in, all, sizeof all));
	MUST(lseek(in, 0, SEEK_SET));
	out = MUST(open("out", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600));
	int copy = MUST(dup(in));
	pid_t kids[2] = {spawn(reads, NULL), spawn(reads, NULL)};
	reads(NULL);
	for (int i = 0; i < 2; i++) {
		int st;
		MUST(waitpid(kids[i], &st, 0));
		SAME(st, 0);
	}
	long n = *count;
	SAME(*sum, n * (n - 1) / 2); /* the first n, each once */
	SAME(lseek(copy, 0, SEEK_CUR), n * SIZE);
	SAME(lseek(out, 0, SEEK_END), n * SIZE);
	static char seen[RECORDS];
	MUST(lseek(out, 0, SEEK_SET));
	for (long i = 0; i < n; i++) {
		SAME(read(out, b, SIZE), SIZE);
		long v = atol(b);
		EXPECT(v >= 0 && v < n && !seen[v]++);
	}
	SAME(fcntl(out, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_RDWR);
	MUST(fcntl(copy, F_SETFL, O_NONBLOCK));
	SAME(fcntl(in, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EXPECT(n > 100);
	unlink("in"), unlink("out");
	return held("one offset");
}
