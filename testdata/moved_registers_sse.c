/* The SSE registers, and rounding, exception flags and flush-to-zero in MXCSR. */
#include "victim.h"
static void *thread(void *p)
{
	unsigned long x = (unsigned long)p * 31 + 7;
	while (going()) {
		unsigned long in[32], out[32], rounds = 20000000;
		for (int i = 0; i < 32; i++)
			in[i] = x = x * 6364136223846793005UL + 1442695040888963407UL;
		unsigned mxcsr = 0x1f80 | (x >> 20 & 0xe07f), after; /* rounding, flush to zero, flags */
		__asm__ volatile("ldmxcsr %[mxcsr];movdqu 0(%[in]),%%xmm0;movdqu 16(%[in]),%%xmm1;movdqu 32(%[in]),%%xmm2;movdqu 48(%[in]),%%xmm3;"
	                 "movdqu 64(%[in]),%%xmm4;movdqu 80(%[in]),%%xmm5;movdqu 96(%[in]),%%xmm6;movdqu 112(%[in]),%%xmm7;movdqu 128(%[in]),%%xmm8;"
	                 "movdqu 144(%[in]),%%xmm9;movdqu 160(%[in]),%%xmm10;movdqu 176(%[in]),%%xmm11;movdqu 192(%[in]),%%xmm12;"
	                 "movdqu 208(%[in]),%%xmm13;movdqu 224(%[in]),%%xmm14;movdqu 240(%[in]),%%xmm15;1: dec %%rcx; jnz 1b;movdqu %%xmm0,0(%[out]);"
	                 "movdqu %%xmm1,16(%[out]);movdqu %%xmm2,32(%[out]);movdqu %%xmm3,48(%[out]);movdqu %%xmm4,64(%[out]);movdqu %%xmm5,80(%[out]);"
	                 "movdqu %%xmm6,96(%[out]);movdqu %%xmm7,112(%[out]);movdqu %%xmm8,128(%[out]);movdqu %%xmm9,144(%[out]);movdqu %%xmm10,160(%[out]);"
	                 "movdqu %%xmm11,176(%[out]);movdqu %%xmm12,192(%[out]);movdqu %%xmm13,208(%[out]);movdqu %%xmm14,224(%[out]);"
	                 "movdqu %%xmm15,240(%[out]);stmxcsr %[after];"
		                 : "+c"(rounds) : [in] "r"(in), [out] "r"(out), [mxcsr] "m"(mxcsr), [after] "m"(after)
		                 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		unsigned usual = 0x1f80;
		__asm__ volatile("ldmxcsr %0" ::"m"(usual));
		for (int i = 0; i < 32; i++)
			SAME(out[i], in[i]);
		SAME(after, mxcsr);
	}
	return NULL;
}
int main(void)
{
	threads(3, thread);
	return held("SSE registers");
}
