/* No C library, no vDSO use, no stack set-up but the kernel's.
 * oracle: cflags -nostdlib -static -fno-stack-protector
 * oracle: args one two */
static long call3(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
static unsigned long len(const char *s)
{
	unsigned long n = 0;
	while (s[n])
		n++;
	return n;
}
void __attribute__((used)) begin(long *sp)
{
	long argc = sp[0];
	char **argv = (char **)(sp + 1);
	for (long i = 1; i < argc; i++) {
		call3(1, 1, (long)argv[i], (long)len(argv[i]));
		call3(1, 1, (long)"\n", 1);
	}
	long pid = call3(57, 0, 0, 0); /* fork */
	if (pid == 0)
		call3(60, 42, 0, 0);
	int st = 0;
	register long r10 __asm__("r10") = 0;
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(61L), "D"(pid), "S"(&st), "d"(0L), "r"(r10) : "rcx", "r11", "memory");
	call3(231, (st >> 8) + (r == pid), 0, 0);
}
__asm__(".globl _start\n_start:\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall begin\n\thlt\n");
