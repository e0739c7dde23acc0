// Executes itself N times and then says how long that took: execs N START PATH.
// No libc: nothing happens between one execve and the next, so that the time
// away less the time at home is that of the forwarded call and of leaving.
#include <stdint.h>
#include <sys/syscall.h>

static long call(long nr, long a, long b, long c)
{
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return ret;
}

static uint64_t now(void)
{
	int64_t t[2];
	call(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)t, 0);
	return (uint64_t)t[0] * 1000000000u + (uint64_t)t[1];
}

static uint64_t parse(const char *s)
{
	uint64_t v = 0;
	while (*s >= '0' && *s <= '9') v = v * 10 + (uint64_t)(*s++ - '0');
	return v;
}

static char *format(uint64_t v, char *end)
{
	*--end = 0;
	do *--end = (char)('0' + v % 10);
	while (v /= 10);
	return end;
}

__attribute__((noreturn)) void begin(long *sp)
{
	char **argv = (char **)(sp + 1), count[24], start[24];
	if (sp[0] != 4) call(SYS_exit_group, 2, 0, 0);
	uint64_t left = parse(argv[1]), from = parse(argv[2]);
	if (from == 0) from = now();
	if (left > 0) {
		char *args[] = {argv[0], format(left - 1, count + sizeof count), format(from, start + sizeof start), argv[3], 0};
		char *env[] = {0};
		call(SYS_execve, (long)argv[3], (long)args, (long)env);
		call(SYS_exit_group, 1, 0, 0);
	}
	char *text = format(now() - from, start + sizeof start);
	long len = start + sizeof start - 1 - text;
	text[len++] = '\n'; // in place of the final zero
	call(SYS_write, 1, (long)text, len);
	for (;;) call(SYS_exit_group, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
