/* The x87 stack with all its 80 bits, its control, status and tag words, and MMX. */
#include "victim.h"
static void *thread(void *p)
{
	unsigned long x = (unsigned long)p + 99;
	while (going()) {
		struct { unsigned char b[512]; } __attribute__((aligned(16))) before, after;
		long double v[8];
		unsigned short control = (x & 1 ? 0x0c00 : 0x0400) | (x & 2 ? 0x027f & ~0x300 : 0x037f); /* rounding, precision */
		for (int i = 0; i < 8; i++) {
			x = x * 6364136223846793005UL + 1;
			v[i] = (long double)(x >> 3) * 1.0000000000000000001L / (i + 3);
		}
		int depth = 1 + x % 8;
		__asm__ volatile("fninit; fldcw %0" ::"m"(control));
		for (int i = 0; i < depth; i++)
			__asm__ volatile("fldt %0" ::"m"(v[i]));
		if (x & 4)
			__asm__ volatile("fldz; fdivr %%st(1),%%st; fstp %%st(0)" ::: ); /* raises the sticky flag ZE, or overflows the stack */
		__asm__ volatile("fxsave64 %0" : "=m"(before));
		for (volatile long i = 0; i < 8000000; i++)
			;
		__asm__ volatile("fxsave64 %0; fninit" : "=m"(after));
		for (int i = 0; i < 24; i++) /* control, status, tags, and the last instruction */
			SAME(after.b[i], before.b[i]);
		for (int i = 0; i < 8; i++)
			EXPECT(memcmp(before.b + 32 + 16 * i, after.b + 32 + 16 * i, 10) == 0);
		unsigned long m[8], n[8];
		for (int i = 0; i < 8; i++)
			m[i] = x = x * 6364136223846793005UL + 3;
		__asm__ volatile("movq 0(%0),%%mm0; movq 8(%0),%%mm1; movq 16(%0),%%mm2; movq 24(%0),%%mm3; movq 32(%0),%%mm4; movq 40(%0),%%mm5; movq 48(%0),%%mm6; movq 56(%0),%%mm7" ::"r"(m) : "memory");
		for (volatile long i = 0; i < 3000000; i++)
			;
		__asm__ volatile("movq %%mm0,0(%0); movq %%mm1,8(%0); movq %%mm2,16(%0); movq %%mm3,24(%0); movq %%mm4,32(%0); movq %%mm5,40(%0); movq %%mm6,48(%0); movq %%mm7,56(%0); emms" ::"r"(n) : "memory");
		for (int i = 0; i < 8; i++)
			SAME(n[i], m[i]);
	}
	return NULL;
}
int main(void)
{
	threads(2, thread);
	return held("x87 and MMX");
}
