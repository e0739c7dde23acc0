/* dup, dup2, dup3, F_DUPFD, close_range, close-on-exec, sharing by fork, RLIMIT_NOFILE and EMFILE, lowest number first. */
#include "victim.h"
int main(void)
{
	int a = SHOW(open("/dev/null", O_RDWR)), b = SHOW(dup(a));
	SHOW(dup2(a, 50)), SHOW(dup2(a, a)), SHOW(dup2(99, 99)), SHOW(dup3(a, a, 0)), SHOW(dup3(a, 51, O_CLOEXEC));
	SHOW(fcntl(51, F_GETFD)), SHOW(fcntl(50, F_GETFD));
	SHOW(fcntl(a, F_DUPFD, 60)), SHOW(fcntl(a, F_DUPFD_CLOEXEC, 60)), SHOW(fcntl(61, F_GETFD));
	SHOW(fcntl(50, F_SETFD, FD_CLOEXEC)), SHOW(fcntl(50, F_GETFD));
	close(b);
	SHOW(open("/dev/zero", O_RDONLY));
	SHOW(close_range(50, 60, 0));
	SHOW(fcntl(60, F_GETFD)), SHOW(fcntl(61, F_GETFD));
	SHOW(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC));
	SHOW(system("ls /proc/self/fd | wc -l")); /* 0 1 2 and the directory itself */
	pid_t c = MUST(fork());
	if (c == 0) {
		SHOW(close(a));
		_exit(0);
	}
	reap("child closes its own", c);
	SHOW(fcntl(a, F_GETFD));
	SHOW(setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 20}));
	int n = 0;
	while (dup(0) >= 0)
		n++;
	printf("%s after %d\n", strerrorname_np(errno), n);
	int p[2];
	SHOW(pipe(p)), SHOW(socket(AF_UNIX, SOCK_STREAM, 0)), SHOW(open("/dev/null", O_RDONLY)), SHOW(dup2(0, 25)), SHOW(fcntl(0, F_DUPFD, 25));
	void *m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TRUE(m != MAP_FAILED);
	SHOW(close(10));
	int f = SHOW(open("/proc/self/exe", O_RDONLY)); /* the last free one */
	TRUE(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, f, 0) != MAP_FAILED); /* mapping needs no further one */
	c = MUST(fork());
	if (c == 0)
		_exit(5);
	reap("fork at the limit", c);
	close(11);
	SHOW(system("exit 4") >> 8);
	return 0;
}
