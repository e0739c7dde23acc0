/* The general registers, the flags and the red zone of computing threads, wherever they are interrupted. */
#include "victim.h"
struct regs { unsigned long r[15], flags; };
/* Loads all general registers but rsp and rcx, sets the flags, goes round by `loop`, which changes none of them, and stores all. */
void spin(const struct regs *in, struct regs *out, long rounds);
__asm__(".text\nspin:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "push %rsi; mov %rdx,%rcx\n"
        "pushq 120(%rdi); popfq\n"
        "mov 0(%rdi),%rax; mov 8(%rdi),%rbx; mov 24(%rdi),%rdx; mov 32(%rdi),%rsi; mov 48(%rdi),%rbp\n"
        "mov 56(%rdi),%r8; mov 64(%rdi),%r9; mov 72(%rdi),%r10; mov 80(%rdi),%r11; mov 88(%rdi),%r12\n"
        "mov 96(%rdi),%r13; mov 104(%rdi),%r14; mov 112(%rdi),%r15; mov 40(%rdi),%rdi\n"
        "mov %rax,-8(%rsp); mov %r15,-128(%rsp)\n" /* the red zone */
        "1: loop 1b\n"
        "mov %rcx,%rcx; push %rax; push %rbx; mov 16(%rsp),%rax\n" /* the place where rsi was put; flags untouched */
        "mov -112(%rsp),%rbx; mov %rbx,112(%rax)\n" /* the red zone's far end */
        "pop %rbx; pop 0(%rax)\n"
        "mov %rbx,8(%rax); mov %rcx,16(%rax); mov %rdx,24(%rax); mov %rsi,32(%rax); mov %rdi,40(%rax); mov %rbp,48(%rax)\n"
        "mov %r8,56(%rax); mov %r9,64(%rax); mov %r10,72(%rax); mov %r11,80(%rax); mov %r12,88(%rax)\n"
        "mov %r13,96(%rax); mov %r14,104(%rax)\n"
        "pushfq; popq 120(%rax); cld\n"
        "pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");
static void *thread(void *p)
{
	unsigned long x = (unsigned long)p * 7919 + 1;
	while (going()) {
		struct regs in, out = {0};
		for (int i = 0; i < 15; i++)
			in.r[i] = x = x * 6364136223846793005UL + 1442695040888963407UL;
		in.flags = 0x202 | (x >> 40 & 0xcd5); /* CF PF AF ZF SF DF OF */
		spin(&in, &out, 20000000);
		for (int i = 0; i < 15; i++)
			if (i != 2)
				SAME(out.r[i], in.r[i]);
		SAME(out.r[2], 0);
		SAME(out.flags & 0xcd5, in.flags & 0xcd5);
	}
	return NULL;
}
int main(void)
{
	threads(3, thread);
	return held("general registers");
}
