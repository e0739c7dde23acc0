/* Each thread's fs and gs base, its protection-key rights and its rounding, while it computes. */
#include "victim.h"
#include <asm/prctl.h>
#include <fenv.h>
#include <sys/auxv.h>
static __thread unsigned long own;
static unsigned rdpkru(void)
{
	unsigned a, d;
	__asm__ volatile(".byte 0x0f,0x01,0xee" : "=a"(a), "=d"(d) : "c"(0));
	return a;
}
static void wrpkru(unsigned v) { __asm__ volatile(".byte 0x0f,0x01,0xef" ::"a"(v), "c"(0), "d"(0)); }
static void *thread(void *p)
{
	static const int rounding[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
	unsigned a, b, c, d, keys = 0;
	unsigned long gs, fs, cell = 0x1234567800 + (long)p, want = (unsigned long)&cell;
	own = (long)p + 1;
	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
	int ospke = c >> 4 & 1;
	if (ospke) {
		keys = rdpkru() ^ (0x30000000 & (unsigned)((long)p + 1) << 28); /* only of keys that nothing uses */
		wrpkru(keys);
	}
	MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, want));
	fesetround(rounding[(long)p % 3]);
	volatile double one = 1, three = 3;
	double third = one / three;
	while (going()) {
		for (volatile long i = 0; i < 3000000; i++)
			;
		__asm__ volatile("mov %%gs:0,%0" : "=r"(gs));
		SAME(gs, cell);
		MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
		SAME(gs, want);
		MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
		SAME(fs, pthread_self());
		if (getauxval(AT_HWCAP2) & 2) {
			__asm__ volatile("rdgsbase %0" : "=r"(gs));
			SAME(gs, want);
			__asm__ volatile("wrgsbase %0" ::"r"(want));
		}
		SAME(own, (long)p + 1);
		if (ospke)
			SAME(rdpkru(), keys);
		EXPECT(fegetround() == rounding[(long)p % 3] && one / three == third);
	}
	return NULL;
}
int main(void)
{
	threads(3, thread);
	return held("fs, gs, protection keys, rounding");
}
