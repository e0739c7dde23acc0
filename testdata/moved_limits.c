/* Limits, and what happens at each: address space, data, file size, descriptors, processes' files, stack, processor time. */
#include "victim.h"
static const int which[] = {RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE,
                            RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK};
enum { N = sizeof which / sizeof *which };
static volatile int xfsz, xcpu;
static void hit(int s, siginfo_t *i, void *c) { (void)i, (void)c, xfsz += s == SIGXFSZ, xcpu += s == SIGXCPU; }
static int child(void *p)
{
	(void)p;
	setrlimit(RLIMIT_CPU, &(struct rlimit){1, 2});
	struct timespec t;
	while (!xcpu)
		for (volatile int i = 0; i < 100000; i++)
			;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	EXPECT(t.tv_sec >= 1 || (t.tv_sec == 0 && t.tv_nsec > 900000000));
	return victim_faults;
}
int main(void)
{
	struct rlimit want[N], got;
	char *big;
	int fd = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));
	handle(SIGXFSZ, hit, 0), handle(SIGXCPU, hit, 0);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){40, 60});
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){10000, RLIM_INFINITY});
	setrlimit(RLIMIT_DATA, &(struct rlimit){64 << 20, RLIM_INFINITY});
	setrlimit(RLIMIT_CORE, &(struct rlimit){12345, 23456});
	for (int i = 0; i < N; i++)
		MUST(getrlimit(which[i], &want[i]));
	do {
		for (int i = 0; i < N; i++) {
			MUST(getrlimit(which[i], &got));
			EXPECT(!memcmp(&got, &want[i], sizeof got));
		}
		static char b[20000];
		int before = xfsz;
		SAME(pwrite(fd, b, sizeof b, 0), 10000);
		GAVE(pwrite(fd, b, 1, 10000), -1, EFBIG);
		SAME(xfsz, before + 1);
		MUST(ftruncate(fd, 0));
		int fds[64], n = 0;
		while ((fds[n] = dup(0)) >= 0)
			n++;
		SAME(errno, EMFILE), SAME(fds[n - 1], 39);
		while (n > 0)
			close(fds[--n]);
		big = mmap(NULL, 80 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		EXPECT(big == MAP_FAILED && errno == ENOMEM);
		big = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		EXPECT(big != MAP_FAILED);
		munmap(big, 8 << 20);
	} while (going());
	unlink("file");
	if (getenv("VICTIM_MS") && atoi(getenv("VICTIM_MS")) > 500)
		reap("child", spawn(child, NULL));
	else
		printf("child: exit 0\n");
	return held("limits");
}
