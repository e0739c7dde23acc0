/* The AVX registers, where the processor has them.
 * oracle: cflags -mavx */
#include "victim.h"
static void *thread(void *p)
{
	unsigned long x = (unsigned long)p * 31 + 7;
	while (going()) {
		unsigned long in[64], out[64], rounds = 20000000;
		for (int i = 0; i < 64; i++)
			in[i] = x = x * 6364136223846793005UL + 1442695040888963407UL;
		__asm__ volatile("vmovdqu 0(%[in]),%%ymm0;vmovdqu 32(%[in]),%%ymm1;vmovdqu 64(%[in]),%%ymm2;vmovdqu 96(%[in]),%%ymm3;vmovdqu 128(%[in]),%%ymm4;"
	                 "vmovdqu 160(%[in]),%%ymm5;vmovdqu 192(%[in]),%%ymm6;vmovdqu 224(%[in]),%%ymm7;vmovdqu 256(%[in]),%%ymm8;"
	                 "vmovdqu 288(%[in]),%%ymm9;vmovdqu 320(%[in]),%%ymm10;vmovdqu 352(%[in]),%%ymm11;vmovdqu 384(%[in]),%%ymm12;"
	                 "vmovdqu 416(%[in]),%%ymm13;vmovdqu 448(%[in]),%%ymm14;vmovdqu 480(%[in]),%%ymm15;1: dec %%rcx; jnz 1b;"
	                 "vmovdqu %%ymm0,0(%[out]);vmovdqu %%ymm1,32(%[out]);vmovdqu %%ymm2,64(%[out]);vmovdqu %%ymm3,96(%[out]);vmovdqu %%ymm4,128(%[out]);"
	                 "vmovdqu %%ymm5,160(%[out]);vmovdqu %%ymm6,192(%[out]);vmovdqu %%ymm7,224(%[out]);vmovdqu %%ymm8,256(%[out]);"
	                 "vmovdqu %%ymm9,288(%[out]);vmovdqu %%ymm10,320(%[out]);vmovdqu %%ymm11,352(%[out]);vmovdqu %%ymm12,384(%[out]);"
	                 "vmovdqu %%ymm13,416(%[out]);vmovdqu %%ymm14,448(%[out]);vmovdqu %%ymm15,480(%[out]);"
		                 : "+c"(rounds) : [in] "r"(in), [out] "r"(out)
		                 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		for (int i = 0; i < 64; i++)
			SAME(out[i], in[i]);
	}
	return NULL;
}
int main(void)
{
	if (__builtin_cpu_supports("avx"))
		threads(3, thread);
	return held("AVX registers");
}
