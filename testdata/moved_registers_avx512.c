/* The 32 AVX-512 registers and their masks, where the processor has them.
 * oracle: cflags -mavx512f */
#include "victim.h"
static void *thread(void *p)
{
	unsigned long x = (unsigned long)p * 31 + 7;
	while (going()) {
		unsigned long in[256], out[256], rounds = 20000000;
		for (int i = 0; i < 256; i++)
			in[i] = x = x * 6364136223846793005UL + 1442695040888963407UL;
		unsigned short k[8], l[8];
		for (int i = 0; i < 8; i++)
			k[i] = x >> (i * 5 + 3);
		__asm__ volatile("vmovdqu64 0(%[in]),%%zmm0;vmovdqu64 64(%[in]),%%zmm1;vmovdqu64 128(%[in]),%%zmm2;vmovdqu64 192(%[in]),%%zmm3;"
	                 "vmovdqu64 256(%[in]),%%zmm4;vmovdqu64 320(%[in]),%%zmm5;vmovdqu64 384(%[in]),%%zmm6;vmovdqu64 448(%[in]),%%zmm7;"
	                 "vmovdqu64 512(%[in]),%%zmm8;vmovdqu64 576(%[in]),%%zmm9;vmovdqu64 640(%[in]),%%zmm10;vmovdqu64 704(%[in]),%%zmm11;"
	                 "vmovdqu64 768(%[in]),%%zmm12;vmovdqu64 832(%[in]),%%zmm13;vmovdqu64 896(%[in]),%%zmm14;vmovdqu64 960(%[in]),%%zmm15;"
	                 "vmovdqu64 1024(%[in]),%%zmm16;vmovdqu64 1088(%[in]),%%zmm17;vmovdqu64 1152(%[in]),%%zmm18;vmovdqu64 1216(%[in]),%%zmm19;"
	                 "vmovdqu64 1280(%[in]),%%zmm20;vmovdqu64 1344(%[in]),%%zmm21;vmovdqu64 1408(%[in]),%%zmm22;vmovdqu64 1472(%[in]),%%zmm23;"
	                 "vmovdqu64 1536(%[in]),%%zmm24;vmovdqu64 1600(%[in]),%%zmm25;vmovdqu64 1664(%[in]),%%zmm26;vmovdqu64 1728(%[in]),%%zmm27;"
	                 "vmovdqu64 1792(%[in]),%%zmm28;vmovdqu64 1856(%[in]),%%zmm29;vmovdqu64 1920(%[in]),%%zmm30;vmovdqu64 1984(%[in]),%%zmm31;"
	                 "kmovw 0(%[k]),%%k0;kmovw 2(%[k]),%%k1;kmovw 4(%[k]),%%k2;kmovw 6(%[k]),%%k3;kmovw 8(%[k]),%%k4;kmovw 10(%[k]),%%k5;"
	                 "kmovw 12(%[k]),%%k6;kmovw 14(%[k]),%%k7;1: dec %%rcx; jnz 1b;vmovdqu64 %%zmm0,0(%[out]);vmovdqu64 %%zmm1,64(%[out]);"
	                 "vmovdqu64 %%zmm2,128(%[out]);vmovdqu64 %%zmm3,192(%[out]);vmovdqu64 %%zmm4,256(%[out]);vmovdqu64 %%zmm5,320(%[out]);"
	                 "vmovdqu64 %%zmm6,384(%[out]);vmovdqu64 %%zmm7,448(%[out]);vmovdqu64 %%zmm8,512(%[out]);vmovdqu64 %%zmm9,576(%[out]);"
	                 "vmovdqu64 %%zmm10,640(%[out]);vmovdqu64 %%zmm11,704(%[out]);vmovdqu64 %%zmm12,768(%[out]);vmovdqu64 %%zmm13,832(%[out]);"
	                 "vmovdqu64 %%zmm14,896(%[out]);vmovdqu64 %%zmm15,960(%[out]);vmovdqu64 %%zmm16,1024(%[out]);vmovdqu64 %%zmm17,1088(%[out]);"
	                 "vmovdqu64 %%zmm18,1152(%[out]);vmovdqu64 %%zmm19,1216(%[out]);vmovdqu64 %%zmm20,1280(%[out]);vmovdqu64 %%zmm21,1344(%[out]);"
	                 "vmovdqu64 %%zmm22,1408(%[out]);vmovdqu64 %%zmm23,1472(%[out]);vmovdqu64 %%zmm24,1536(%[out]);vmovdqu64 %%zmm25,1600(%[out]);"
	                 "vmovdqu64 %%zmm26,1664(%[out]);vmovdqu64 %%zmm27,1728(%[out]);vmovdqu64 %%zmm28,1792(%[out]);vmovdqu64 %%zmm29,1856(%[out]);"
	                 "vmovdqu64 %%zmm30,1920(%[out]);vmovdqu64 %%zmm31,1984(%[out]);kmovw %%k0,0(%[l]);kmovw %%k1,2(%[l]);kmovw %%k2,4(%[l]);"
	                 "kmovw %%k3,6(%[l]);kmovw %%k4,8(%[l]);kmovw %%k5,10(%[l]);kmovw %%k6,12(%[l]);kmovw %%k7,14(%[l]);"
		                 : "+c"(rounds) : [in] "r"(in), [out] "r"(out), [k] "r"(k), [l] "r"(l)
		                 : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7");
		for (int i = 0; i < 256; i++)
			SAME(out[i], in[i]);
		for (int i = 0; i < 8; i++)
			SAME(l[i], k[i]);
	}
	return NULL;
}
int main(void)
{
	if (__builtin_cpu_supports("avx512f"))
		threads(3, thread);
	return held("AVX-512 registers");
}
