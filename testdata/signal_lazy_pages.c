/* A SIGSEGV handler that makes pages accessible one after the other, as collectors and sanitizers do. */
#include "victim.h"
#include <ucontext.h>
static char *base;
static volatile int faults, writes;
static void hit(int s, siginfo_t *i, void *c)
{
	(void)s;
	ucontext_t *u = c;
	faults++;
	writes += (u->uc_mcontext.gregs[REG_ERR] & 2) != 0;
	mprotect((void *)((uintptr_t)i->si_addr & -4096UL), 4096, PROT_READ | PROT_WRITE);
}
int main(void)
{
	handle(SIGSEGV, hit, 0);
	base = mmap(NULL, 256 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long sum = 0;
	for (int i = 0; i < 256; i++)
		if (i % 2)
			base[i * 4096 + i] = i;
		else
			sum += base[i * 4096];
	for (int i = 0; i < 256; i++)
		sum += base[i * 4096 + i];
	printf("%d faults, %d of them writes, sum %ld\n", faults, writes, sum);
	return 0;
}
