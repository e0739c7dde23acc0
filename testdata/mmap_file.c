/* Private and read-only shared mappings of files: content, offsets, past the end, changed files, unlinked and closed files. */
#include "victim.h"
#include <setjmp.h>
static sigjmp_buf back;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; siglongjmp(back, s); }
int main(void)
{
	int fd = MUST(open("data", O_RDWR | O_CREAT, 0600));
	static char buf[20000];
	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = 'a' + i % 23;
	MUST(write(fd, buf, sizeof buf));
	char *p = mmap(NULL, 20480, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	TRUE(memcmp(p, buf, sizeof buf) == 0);
	TRUE(p[20479] == 0);
	p[100] = '!';
	char b;
	pread(fd, &b, 1, 100);
	TRUE(b == buf[100]);
	int view = MUST(open("data", O_RDONLY));
	char *ro = mmap(NULL, 20480, PROT_READ, MAP_SHARED, view, 0);
	close(view);
	TRUE(ro != MAP_FAILED && memcmp(ro, buf, sizeof buf) == 0);
	char *off = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 8192);
	TRUE(memcmp(off, buf + 8192, 4096) == 0);
	handle(SIGBUS, hit, 0);
	char *past = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE, fd, 0);
	int s = sigsetjmp(back, 1);
	if (!s)
		printf("read %d\n", past[40000]);
	printf("past the end: %s\n", s ? sigabbrev_np(s) : "nothing");
	close(fd);
	unlink("data");
	TRUE(memcmp(ro, buf, sizeof buf) == 0);
	p[5] = 'z';
	pid_t c = MUST(fork());
	if (c == 0)
		_exit(p[5] == 'z' && p[100] == '!' && ro[7] == buf[7] && (p[6] = 1));
	reap("child sees them", c);
	TRUE(p[6] == buf[6]);
	fd = MUST(open("second", O_RDWR | O_CREAT, 0600));
	MUST(write(fd, "version one", 11));
	char *one = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	TRUE(strcmp(one, "version one") == 0);
	munmap(one, 4096);
	MUST(pwrite(fd, "VERSION TWO", 11, 0));
	char *two = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	TRUE(strcmp(two, "VERSION TWO") == 0);
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 5));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 77, 0));
	int wr = MUST(open("second", O_WRONLY));
	SHOW(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, wr, 0));
	int rd = MUST(open("second", O_RDONLY));
	SHOW(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rd, 0));
	int dir = MUST(open(".", O_RDONLY));
	char *fixed = mmap(NULL, 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRUE(mmap(fixed + 4096, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, rd, 0) == fixed + 4096);
	TRUE(memcmp(fixed + 4096, "VERSION TWO", 11) == 0);
	SHOW(open("next", O_CREAT | O_RDONLY, 0600) == dir + 1); /* mapping took no descriptor */
	unlink("second"), unlink("next");
	return 0;
}
