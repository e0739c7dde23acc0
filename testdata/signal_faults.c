/* SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP from the processor: codes, addresses, and that a handler can go on. */
#include "victim.h"
#include <setjmp.h>
static sigjmp_buf back;
static volatile siginfo_t last;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)c; *(siginfo_t *)&last = *i; siglongjmp(back, 1); }
static char *page;
static volatile int zero;
static void null_write(void) { *(volatile int *)8 = 1; }
static void readonly_write(void) { page[5] = 1; }
static void jump_away(void) { ((void (*)(void))(page + 16))(); }
static void divide(void) { zero = 5 / zero; }
static void illegal(void) { __asm__ volatile("ud2"); }
static void trap(void) { __asm__ volatile("int3"); }
static void noncanonical(void) { *(volatile int *)0x8000000000000000UL = 1; }
static void privileged(void) { __asm__ volatile("hlt"); }
static void past_file(void)
{
	int fd = open("short", O_RDWR | O_CREAT, 0600);
	char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	page = p;
	zero = p[4100];
}
static const struct { const char *name; void (*f)(void); } faults[] = {
	{"null", null_write}, {"read-only", readonly_write}, {"no exec", jump_away}, {"divide", divide}, {"ud2", illegal}, {"int3", trap},
	{"non-canonical", noncanonical}, {"hlt", privileged}, {"past the file's end", past_file}};
int main(void)
{
	page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	for (int i = 0; i < 5; i++)
		handle(sigs[i], hit, 0);
	for (unsigned k = 0; k < sizeof faults / sizeof *faults; k++) {
		if (sigsetjmp(back, 1) == 0) {
			faults[k].f();
			printf("%s: nothing\n", faults[k].name);
			continue;
		}
		char *a = last.si_addr;
		printf("%s: SIG%s code %d at %s\n", faults[k].name, sigabbrev_np(last.si_signo), last.si_code,
		       a >= page && a < page + 8192 ? "page" : a == (char *)8 ? "8" : a == NULL ? "0" : last.si_signo == SIGSEGV ? "elsewhere" : "code");
	}
	unlink("short");
	return 0;
}
