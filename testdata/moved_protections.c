/* What may be done to which page, and what a fault tells: PROT_NONE, read-only, write after mprotect, unmapped, execute, guard pages, and
 * handlers that repair. */
#include "victim.h"
#include <setjmp.h>
enum { PAGES = 64 };
static char *area;
static __thread sigjmp_buf out;
static __thread volatile int code, sig, repairs;
static __thread char *volatile addr;
static volatile int touched[PAGES];
static void hit(int s, siginfo_t *i, void *c)
{
	(void)c;
	sig = s, code = i->si_code, addr = i->si_addr;
	if (repairs && addr >= area && addr < area + PAGES * 4096) {
		MUST(mprotect((void *)((unsigned long)addr & -4096L), 4096, PROT_READ | PROT_WRITE));
		touched[(addr - area) / 4096]++;
		return;
	}
	siglongjmp(out, 1);
}
#define FAULTS(expression, want_sig, want_code, at)             \
	do {                                                        \
		sig = 0;                                                \
		if (sigsetjmp(out, 1) == 0) {                           \
			expression;                                         \
			SAME(0, want_sig);                                  \
		} else {                                                \
			SAME(sig, want_sig);                                \
			SAME(code, want_code);                              \
			EXPECT(addr == (char *)(at));                       \
		}                                                       \
	} while (0)
static void *thread(void *p)
{
	volatile char *a = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)p;
	memset((char *)a, 'x', 5 * 4096);
	MUST(mprotect((char *)a, 4096, PROT_NONE));
	MUST(mprotect((char *)a + 4096, 4096, PROT_READ));
	a[2 * 4096] = (char)0xc3; /* ret */
	MUST(mprotect((char *)a + 2 * 4096, 4096, PROT_READ | PROT_EXEC));
	MUST(munmap((char *)a + 3 * 4096, 4096));
	do {
		FAULTS(a[5]++, SIGSEGV, SEGV_ACCERR, a + 5);
		FAULTS(a[4096 + 7] = 1, SIGSEGV, SEGV_ACCERR, a + 4096 + 7);
		SAME(a[4096 + 7], 'x');
		((void (*)(void))(a + 2 * 4096))();
		FAULTS(a[2 * 4096 + 9] = 1, SIGSEGV, SEGV_ACCERR, a + 2 * 4096 + 9);
		FAULTS(a[3 * 4096 + 11] = 1, SIGSEGV, SEGV_MAPERR, a + 3 * 4096 + 11);
		FAULTS(((void (*)(void))(a + 4 * 4096))(), SIGSEGV, SEGV_ACCERR, a + 4 * 4096);
		FAULTS(*(volatile long *)0xdead0000beef0000, SIGSEGV, SI_KERNEL, 0);
		FAULTS(__asm__ volatile("ud2"), SIGILL, ILL_ILLOPN, addr);
		for (volatile long i = 0; i < 1000000; i++)
			;
		SAME(a[4 * 4096], 'x');
	} while (going());
	return NULL;
}
static void *repairs_(void *p)
{
	(void)p;
	repairs = 1;
	do {
		MUST(mprotect(area, PAGES * 4096, PROT_READ));
		for (int i = 0; i < PAGES; i++) {
			int was = area[i * 4096], t = touched[i];
			if (i % 3)
				area[i * 4096]++;
			SAME(touched[i] - t, i % 3 != 0);
			SAME((unsigned char)area[i * 4096], (unsigned char)(was + (i % 3 != 0)));
		}
		MUST(mprotect(area, PAGES * 4096, PROT_NONE));
		for (int i = 0; i < PAGES; i += 7)
			area[i * 4096 + 1]++;
		for (volatile long i = 0; i < 300000; i++)
			;
	} while (going());
	return NULL;
}
static void *run(void *p) { return (long)p ? thread(p) : repairs_(p); }
int main(void)
{
	area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	handle(SIGSEGV, hit, 0), handle(SIGILL, hit, 0);
	threads(3, run);
	return held("protections");
}
