/* Locked memory is still locked: by range, on fault, and all that comes. */
#include "victim.h"
static long kb(const char *key)
{
	char b[4096] = "", *at;
	int fd = MUST(open("/proc/self/status", O_RDONLY));
	MUST(read(fd, b, sizeof b - 1));
	close(fd);
	at = strstr(b, key);
	return at ? atol(at + strlen(key)) : -1;
}
int main(void)
{
	char *a = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(mlock(a + 8 * 4096, 16 * 4096));
	MUST(mlock2(a + 32 * 4096, 8 * 4096, MLOCK_ONFAULT));
	long want = kb("VmLck:");
	SAME(want, 24 * 4);
	do {
		SAME(kb("VmLck:"), want);
		a[33 * 4096]++, a[9 * 4096]++;
		wait_ms(3);
		char *b = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
		SAME(kb("VmLck:"), want + 16);
		wait_ms(3);
		MUST(munlock(b, 2 * 4096));
		SAME(kb("VmLck:"), want + 8);
		MUST(munmap(b, 4 * 4096));
	} while (going());
	MUST(munlock(a + 32 * 4096, 8 * 4096));
	SAME(kb("VmLck:"), 16 * 4);
	MUST(munlockall());
	SAME(kb("VmLck:"), 0);
	return held("locked memory");
}
