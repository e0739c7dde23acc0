/* Descriptors and credentials that are on their way in a socket, or have been received. */
#include "victim.h"
static int s[2];
static void pass(int fd, int n)
{
	char c[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = {&n, sizeof n};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	SAME(sendmsg(s[0], &m, 0), sizeof n);
}
static int takes(int n, pid_t from)
{
	char c[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))] = "";
	int got = -1, fd = -1, cred = 0;
	struct iovec v = {&got, sizeof got};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	SAME(recvmsg(s[1], &m, MSG_CMSG_CLOEXEC), sizeof got);
	SAME(got, n);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(h), sizeof fd);
		if (h->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(h), sizeof u);
			SAME(u.pid, from), SAME(u.uid, getuid());
			cred = 1;
		}
	}
	SAME(cred, 1);
	return fd;
}
static int child(void *p)
{
	int n = 0;
	(void)p;
	close(s[1]);
	do {
		char name[20] = "passed.XXXXXX";
		int fd = MUST(mkstemp(name)), ends[2];
		unlink(name);
		dprintf(fd, "file %d", n);
		lseek(fd, 0, SEEK_SET);
		pass(fd, n);
		close(fd); /* it is in the socket only */
		MUST(pipe(ends));
		dprintf(ends[1], "pipe %d", n);
		close(ends[1]);
		pass(ends[0], n);
		close(ends[0]);
		n++;
		char c;
		if (n % 3 == 0)
			SAME(read(s[0], &c, 1), 1);
	} while (going());
	shutdown(s[0], SHUT_WR);
	char c;
	while (read(s[0], &c, 1) == 1)
		;
	return victim_faults;
}
int main(void)
{
	char b[64], want[64], c;
	int on = 1;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	MUST(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	pid_t pid = spawn(child, NULL);
	close(s[0]);
	for (int n = 0;; n++) {
		for (int k = 0; k < 2; k++) {
			if (k == 0 && recv(s[1], &c, 1, MSG_PEEK) == 0)
				goto end;
			int fd = takes(n, pid);
			if (n % 4 == 0)
				wait_ms(1);
			memset(b, 0, sizeof b);
			snprintf(want, sizeof want, k ? "pipe %d" : "file %d", n);
			SAME(read(fd, b, sizeof b), strlen(want));
			EXPECT(!strcmp(b, want));
			SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
			close(fd);
		}
		if (n % 3 == 2)
			MUST(write(s[1], "c", 1));
	}
end:
	shutdown(s[1], SHUT_WR);
	reap("child", pid);
	return held("passed descriptors");
}
