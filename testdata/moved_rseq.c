/* Restartable sequences: the registered area stays registered and tells a processor that exists; counters of processors lose nothing. */
#include "victim.h"
#include <sys/rseq.h>
#define CPUS 1024
static struct { volatile long n; char pad[56]; } counts[CPUS] __attribute__((aligned(64)));
static volatile long aborted;
static struct rseq *area(void) { return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset); }
/* add adds one to the counter of this processor, unless it is interrupted on the way. */
static int add(void)
{
	struct rseq *r = area();
	int cpu = __atomic_load_n(&r->cpu_id_start, __ATOMIC_RELAXED);
	volatile long *at = &counts[cpu % CPUS].n;
	__asm__ volatile goto(".pushsection __rseq_cs, \"aw\"; .balign 32; 3: .long 0, 0; .quad 1f, 2f-1f, 4f; .popsection\n"
	                      "leaq 3b(%%rip),%%rax; movq %%rax,%[cs]; 1:\n"
	                      "cmpl %[cpu],%[id]; jne 4f\n"
	                      "movq %[at],%%rax; addq $1,%%rax\n"
	                      "mov $40,%%ecx; 5: dec %%ecx; jnz 5b\n" /* a wide window */
	                      "movq %%rax,%[at]; 2:\n"
	                      ".pushsection __rseq_failure, \"ax\"; .byte 0x0f,0xb9,0x3d; .long 0x53053053; 4: jmp %l[abort]; .popsection\n"
	                      : : [cs] "m"(r->rseq_cs), [cpu] "r"(cpu), [id] "m"(r->cpu_id), [at] "m"(*at)
	                      : "memory", "cc", "rax", "rcx" : abort);
	return 1;
abort:
	__sync_fetch_and_add(&aborted, 1);
	return 0;
}
static volatile long total;
static void *thread(void *p)
{
	long mine = 0;
	struct rseq *r = area();
	(void)p;
	do {
		for (int i = 0; i < 20000; i++)
			mine += add();
		unsigned a = __atomic_load_n(&r->cpu_id_start, __ATOMIC_RELAXED), b = __atomic_load_n(&r->cpu_id, __ATOMIC_RELAXED);
		EXPECT(a < CPUS && b < CPUS);
		EXPECT(sched_getcpu() >= 0 && sched_getcpu() < CPUS);
		GAVE(syscall(SYS_rseq, r, __rseq_size < 32 ? 32 : __rseq_size, 0, 0x53053053), -1, EBUSY);
	} while (going());
	__sync_fetch_and_add(&total, mine);
	return NULL;
}
int main(void)
{
	long sum = 0;
	EXPECT((int)area()->cpu_id >= 0);
	threads(4, thread);
	for (int i = 0; i < CPUS; i++)
		sum += counts[i].n;
	SAME(sum, total);
	EXPECT(total > 10000);
	return held("restartable sequences");
}
