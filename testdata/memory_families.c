/* userfaultfd, memfd and its seals, huge pages by advice, mlockall, process_vm_readv of oneself and of a child, pidfd_getfd.
 * oracle: mayhome */
#include "victim.h"
#include <sys/prctl.h>
int main(void)
{
	int m = MUST(memfd_create("seal", MFD_ALLOW_SEALING | MFD_CLOEXEC));
	SHOW(ftruncate(m, 8192));
	SHOW(write(m, "content", 7));
	SHOW(fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE));
	SHOW(fcntl(m, F_GET_SEALS));
	SHOW(write(m, "x", 1));
	SHOW(ftruncate(m, 10));
	char *p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, m, 0);
	TRUE(p != MAP_FAILED && strcmp(p, "content") == 0);
	SHOW(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0));
	char *big = mmap(NULL, 8 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SHOW(madvise(big, 8 << 20, MADV_HUGEPAGE));
	memset(big, 5, 8 << 20);
	TRUE(big[(8 << 20) - 1] == 5);
	char src[20] = "through the kernel", dst[20] = "";
	struct iovec l = {dst, 19}, r = {src, 19};
	SHOW(process_vm_readv(getpid(), &l, 1, &r, 1, 0));
	printf("%s\n", dst);
	pid_t c = MUST(fork());
	if (c == 0) {
		src[0] = 'T';
		pause();
		_exit(0);
	}
	wait_ms(50);
	SHOW(process_vm_readv(c, &l, 1, &r, 1, 0));
	printf("%s\n", dst);
	SHOW(process_vm_writev(c, &l, 1, &(struct iovec){(void *)8, 19}, 1, 0));
	kill(c, SIGKILL), reap("child", c);
	int fd = MUST(syscall(SYS_pidfd_open, getpid(), 0));
	int got = SHOW(syscall(SYS_pidfd_getfd, fd, m, 0)) >= 0;
	(void)got;
	return 0;
}
