/* A program that debugs its child: TRACEME, breakpoints, system call stops, registers, memory.
 * oracle: mayhome */
#include "victim.h"
#include <sys/ptrace.h>
#include <sys/user.h>
static volatile int value = 5;
int main(void)
{
	pid_t c = MUST(fork());
	if (c == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		getppid();
		_exit(value);
	}
	int st;
	MUST(waitpid(c, &st, 0));
	show_status("child", st);
	errno = 0;
	SHOW(ptrace(PTRACE_PEEKDATA, c, &value, 0) & 0xffffffff);
	SHOW(ptrace(PTRACE_POKEDATA, c, &value, 33));
	SHOW(ptrace(PTRACE_SYSCALL, c, 0, 0));
	MUST(waitpid(c, &st, 0));
	show_status("child", st);
	struct user_regs_struct r;
	SHOW(ptrace(PTRACE_GETREGS, c, 0, &r));
	TRUE(r.orig_rax == SYS_getppid || r.orig_rax < 500);
	SHOW(ptrace(PTRACE_CONT, c, 0, 0));
	reap("child", c);
	return 0;
}
