/* brk, mmap, munmap, mremap, mprotect, madvise, mincore, msync, mlock: results, contents and errors. */
#include "victim.h"
static int touch(char *p) /* can the kernel write there? */
{
	int z = open("/dev/zero", O_RDONLY), r = read(z, p, 1), e = errno;
	close(z);
	return r == 1 ? 0 : e;
}
int main(void)
{
	char *b0 = sbrk(0);
	TRUE(sbrk(100000) == b0 && sbrk(0) == b0 + 100000);
	memset(b0, 3, 100000);
	TRUE(sbrk(-50000) == b0 + 100000);
	TRUE(sbrk(50000) == b0 + 50000 && b0[99999] == 0 && b0[10] == 3);
	char *p = mmap(NULL, 10 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 10; i++)
		p[i * 4096] = i + 1;
	SHOW(munmap(p + 3 * 4096, 4096));
	SHOW(touch(p + 3 * 4096) == EFAULT);
	SHOW(mprotect(p, 4 * 4096, PROT_READ));
	SHOW(mprotect(p + 5 * 4096, 4096, PROT_READ));
	SHOW(touch(p + 5 * 4096) == EFAULT);
	SHOW(touch(p + 6 * 4096));
	char *q = mremap(p + 7 * 4096, 3 * 4096, 6 * 4096, MREMAP_MAYMOVE);
	TRUE(q != MAP_FAILED && q[0] == 8 && q[2 * 4096] == 10 && q[5 * 4096] == 0);
	char *at = mmap(NULL, 4 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRUE(mremap(q, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at + 4096) == at + 4096 && at[4096] == 8);
	SHOW(touch(q) == EFAULT);
	TRUE(mmap(at, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
	SHOW(mmap(at, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	SHOW(mmap(at + 1, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	SHOW(mmap(NULL, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW(mmap(NULL, 4096, 3, MAP_ANONYMOUS, -1, 0));
	SHOW(mmap(NULL, 4096, 3, MAP_PRIVATE, -1, 0));
	SHOW(mmap(NULL, 1UL << 50, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW(munmap(at + 1, 4096));
	SHOW(mprotect(at + 1, 4096, 3));
	SHOW(mremap(at + 1, 1, 1, 0));
	SHOW(madvise(at, 4096, MADV_DONTNEED));
	TRUE(at[0] == 0);
	SHOW(madvise(at, 4096, 12345));
	unsigned char v[10];
	at[0] = 1;
	SHOW(mincore(at, 4096, v));
	SHOW(v[0] & 1);
	SHOW(mincore((void *)4096, 4096, v));
	SHOW(mlock(at, 4096));
	SHOW(munlock(at, 4096));
	SHOW(msync(at, 4096, MS_SYNC));
	SHOW(msync((void *)4096, 4096, MS_SYNC));
	char *low = mmap((void *)0x10000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	TRUE(low == (void *)0x10000000);
	char *m32 = mmap(NULL, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	TRUE((uintptr_t)m32 < 1UL << 32);
	char *down = mmap(NULL, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK, -1, 0);
	down[0] = 1;
	TRUE(down[0] == 1);
	char *big = mmap(NULL, 1L << 36, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	TRUE(big != MAP_FAILED);
	big[1L << 35] = 5;
	TRUE(big[1L << 35] == 5 && big[(1L << 35) + 8192] == 0);
	unsigned char *code = mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
	SHOW(mprotect(code, 4096, PROT_READ | PROT_EXEC));
	SHOW(((int (*)(void))code)());
	int pk = pkey_alloc(0, 0);
	printf("pkeys %s\n", pk >= 0 ? "work" : strerrorname_np(errno));
	int mem = syscall(SYS_memfd_create, "m", 0);
	TRUE(mem > 2);
	return 0;
}
