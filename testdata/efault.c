/* Bad pointers, everywhere the kernel looks: unmapped, PROT_NONE, read-only, half mapped. The answer must be the kernel's. */
#include "victim.h"
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#define BAD ((void *)8)
int main(void)
{
	char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *half = mmap(NULL, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(half + 4096, 4096);
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600)), p[2], s[2];
	memset(half, 'h', 4096);
	MUST(pipe(p));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	/* in pointers */
	SHOW(write(fd, BAD, 5));
	SHOW(write(fd, none, 5));
	SHOW(write(fd, ro, 5));
	SHOW(write(fd, half + 4090, 100));
	SHOW(write(p[1], half + 4090, 100));
	SHOW(write(s[0], half + 4090, 100));
	SHOW(write(-1, BAD, 5));
	SHOW(write(fd, BAD, 0));
	SHOW(pwrite(fd, half + 4090, 100, 0));
	SHOW(open(BAD, O_RDONLY));
	SHOW(open(half + 4095, O_RDONLY) == -1 && (errno == EFAULT));
	SHOW(stat(BAD, (void *)half));
	SHOW(mkdir(BAD, 0700));
	SHOW(rename("f", BAD));
	SHOW(unlink(none));
	SHOW(chdir(BAD));
	SHOW(symlink(BAD, "x"));
	struct iovec v[3] = {{half, 10}, {BAD, 10}, {half, 10}};
	SHOW(writev(fd, v, 3));
	SHOW(writev(fd, BAD, 3));
	SHOW(writev(fd, v, -1));
	SHOW(writev(fd, v, 1025));
	v[0].iov_len = -1;
	SHOW(writev(fd, v, 1));
	SHOW(bind(s[0], BAD, 20));
	SHOW(connect(s[0], BAD, 20));
	SHOW(sendto(s[0], BAD, 5, 0, NULL, 0));
	SHOW(sendmsg(s[0], BAD, 0));
	SHOW(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, BAD, 4));
	SHOW(poll(BAD, 1, 0));
	SHOW(select(5, BAD, NULL, NULL, NULL));
	SHOW(nanosleep(BAD, NULL));
	SHOW(futimens(fd, BAD));
	SHOW(setrlimit(RLIMIT_CORE, BAD));
	SHOW(sigaction(SIGUSR1, BAD, NULL));
	SHOW(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8));
	/* out pointers */
	lseek(fd, 0, 0);
	SHOW(read(fd, BAD, 5));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(read(fd, ro, 5));
	SHOW(read(fd, none, 5));
	SHOW(read(fd, half + 4090, 16));
	SHOW(read(fd, BAD, 0));
	SHOW(read(-1, BAD, 5));
	MUST(write(p[1], "0123456789abcdefghij", 20));
	SHOW(read(p[0], ro, 5));
	SHOW(pipe(BAD));
	SHOW(pipe((void *)ro));
	SHOW(open("next", O_CREAT | O_RDWR, 0600)); /* no descriptor leaked */
	SHOW(fstat(fd, BAD));
	SHOW(fstat(fd, (void *)ro));
	SHOW(fstat(-1, BAD));
	SHOW(stat("missing", BAD));
	SHOW(getcwd(half, 1) == NULL ? errno : 0);
	SHOW(syscall(SYS_getcwd, BAD, 4096));
	SHOW(readlink("/proc/self/exe", BAD, 100));
	SHOW(uname(BAD));
	SHOW(sysinfo(BAD));
	SHOW(statfs(".", BAD));
	SHOW(getrlimit(RLIMIT_NOFILE, BAD));
	SHOW(gettimeofday((void *)half, NULL));
	SHOW(syscall(SYS_gettimeofday, BAD, NULL));
	SHOW(getsockname(s[0], BAD, (void *)half));
	SHOW(getsockname(s[0], (void *)half, BAD));
	SHOW(getsockopt(s[0], SOL_SOCKET, SO_TYPE, BAD, BAD));
	int four = 4;
	SHOW(getsockopt(s[0], SOL_SOCKET, SO_TYPE, ro, (void *)&four));
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, BAD));
	SHOW(ioctl(p[0], FIONREAD, BAD));
	SHOW(ioctl(fd, TCGETS, BAD));
	SHOW(epoll_wait(epoll_create1(0), BAD, 1, 0));
	pid_t c = spawn((int (*)(void *))(void *)getpid, NULL);
	SHOW(wait4(c, BAD, 0, NULL));
	SHOW(wait4(-1, NULL, 0, BAD));
	int st;
	c = MUST(fork());
	if (c == 0)
		_exit(0);
	SHOW(wait4(c, &st, 0, BAD));
	SHOW(getgroups(100, BAD) >= -1);
	SHOW(syscall(SYS_getdents64, open(".", O_RDONLY), BAD, 1000));
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, BAD, NULL));
	SHOW(syscall(SYS_futex, BAD, 1, 1, 0, 0, 0));
	SHOW(syscall(SYS_getrandom, BAD, 10, 0));
	SHOW(syscall(SYS_sigaltstack, BAD, NULL));
	SHOW(syscall(SYS_times, BAD));
	SHOW(syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, BAD));
	SHOW(syscall(SYS_statx, AT_FDCWD, ".", 0, STATX_ALL, BAD));
	SHOW(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, BAD));
	SHOW(syscall(SYS_rt_sigtimedwait, BAD, NULL, NULL, 8));
	SHOW(syscall(SYS_openat2, AT_FDCWD, "f", BAD, 24));
	SHOW(syscall(SYS_clone3, BAD, 88));
	SHOW(syscall(SYS_sendfile, fd, fd, BAD, 10));
	SHOW(recvfrom(s[1], BAD, 3, 0, NULL, NULL));
	SHOW(recv(s[1], half, 100, MSG_DONTWAIT));
	SHOW(recvmsg(s[1], BAD, 0));
	SHOW(lseek(fd, 0, SEEK_END));
	unlink("f"), unlink("next");
	return 0;
}
