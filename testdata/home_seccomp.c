/* A program that installs a seccomp filter, and lives and dies by it.
 * oracle: home seccomp */
#include "victim.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
static int strict(void *p)
{
	(void)p;
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	syscall(SYS_getppid);
	return 1;
}
int main(void)
{
	struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
	                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog prog = {4, f};
	reap("strict", spawn(strict, NULL));
	SHOW(prctl(PR_GET_SECCOMP));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SHOW(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
	errno = 0;
	SHOW(syscall(SYS_getppid));
	SHOW(prctl(PR_GET_SECCOMP));
	SHOW(system("exit 6") >> 8);
	return 0;
}
