/* A file without a name, mapped, handed over a socket to a relative who is at home: from then on both see the same.
 * oracle: home shared file handed */
#include "victim.h"
static int pair[2], ready[2];
static int receiver(void *p)
{
	char b, c[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&b, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	DID(syscall(425, 1, NULL)); /* io_uring_setup: it comes home */
	MUST(write(ready[1], "r", 1));
	MUST(recvmsg(pair[1], &m, 0));
	int got;
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof got);
	volatile int *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, got, 0);
	TRUE(n[1] == 2);
	for (int i = 0; i < 50; i++) {
		while (n[0] % 2)
			usleep(100);
		n[0]++;
	}
	return 0;
}
int main(void)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)), MUST(pipe(ready));
	pid_t k = spawn(receiver, NULL);
	int fd = MUST(memfd_create("passed", 0));
	MUST(ftruncate(fd, 4096));
	volatile int *n = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	n[0] = 1, n[1] = 2;
	char b;
	MUST(read(ready[0], &b, 1));
	char c[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {"x", 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	*CMSG_FIRSTHDR(&m) = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof fd);
	MUST(sendmsg(pair[0], &m, 0));
	n[0]++;
	for (int i = 0; i < 50; i++) {
		while (n[0] % 2 == 0)
			usleep(100);
		n[0]++;
	}
	reap("receiver", k);
	printf("%d\n", n[0]);
	return 0;
}
