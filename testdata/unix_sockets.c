/* Unix sockets: stream, datagram, seqpacket, abstract names, descriptors and credentials sent, peer credentials, shutdown. */
#include "victim.h"
static void fill(struct sockaddr_un *a, const char *name) { *a = (struct sockaddr_un){.sun_family = AF_UNIX}; strcpy(a->sun_path, name); }
static void send_fd(int s, int fd, const char *text)
{
	char c[CMSG_SPACE(sizeof fd)] = "";
	struct iovec v = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(h), &fd, sizeof fd);
	SHOW(sendmsg(s, &m, 0));
}
static int recv_fd(int s, int flags)
{
	char c[200] = "", b[100] = "";
	int fd = -1;
	struct iovec v[2] = {{b, 2}, {b + 10, 80}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2, .msg_control = c, .msg_controllen = sizeof c};
	SHOW(recvmsg(s, &m, flags));
	printf("data %.2s|%s flags %x controllen %d\n", b, b + 10, m.msg_flags, (int)m.msg_controllen);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(h), sizeof fd);
		if (h->cmsg_type == SCM_CREDENTIALS) {
			struct ucred u;
			memcpy(&u, CMSG_DATA(h), sizeof u);
			printf("credentials: self %d parent %d uid %d\n", u.pid == getpid(), u.pid == getppid(), u.uid == getuid());
		}
	}
	return fd;
}
int main(void)
{
	int s[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	int f = MUST(open("f", O_RDWR | O_CREAT, 0600));
	MUST(write(f, "content", 7));
	send_fd(s[0], f, "hello");
	close(f);
	int g = recv_fd(s[1], MSG_CMSG_CLOEXEC);
	SHOW(fcntl(g, F_GETFD));
	char b[100] = "";
	SHOW(pread(g, b, 100, 0));
	printf("%s\n", b);
	int on = 1;
	SHOW(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	pid_t c = MUST(fork());
	if (c == 0) {
		send_fd(s[0], 1, "from the child");
		_exit(0);
	}
	reap("child", c);
	close(recv_fd(s[1], 0));
	struct ucred u;
	socklen_t n = sizeof u;
	SHOW(getsockopt(s[1], SOL_SOCKET, SO_PEERCRED, &u, &n));
	TRUE(u.pid == getpid() && u.uid == geteuid());
	SHOW(shutdown(s[0], SHUT_WR));
	SHOW(recv(s[1], b, 10, 0));
	signal(SIGPIPE, SIG_IGN);
	SHOW(send(s[0], "x", 1, 0));
	SHOW(send(s[0], "x", 1, MSG_NOSIGNAL));
	struct sockaddr_un a, from;
	fill(&a, "sock");
	int l = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	SHOW(bind(l, (void *)&a, sizeof a));
	SHOW(bind(l, (void *)&a, sizeof a));
	SHOW(listen(l, 5));
	int k = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	SHOW(connect(k, (void *)&a, sizeof a));
	n = sizeof from;
	int q = SHOW(accept4(l, (void *)&from, &n, SOCK_NONBLOCK));
	SHOW(n);
	SHOW(recv(q, b, 1, 0));
	n = sizeof from;
	SHOW(getpeername(k, (void *)&from, &n));
	printf("%s %d\n", from.sun_path, n);
	n = 4;
	SHOW(getpeername(k, (void *)&from, &n));
	SHOW(n);
	struct stat st;
	SHOW(stat("sock", &st));
	TRUE(S_ISSOCK(st.st_mode));
	fill(&a, "missing");
	SHOW(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, sizeof a));
	int d[2];
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, d));
	SHOW(send(d[0], "one", 3, 0)), SHOW(send(d[0], "twotwo", 6, 0)), SHOW(send(d[0], "", 0, 0));
	SHOW(recv(d[1], b, 100, MSG_PEEK));
	SHOW(recv(d[1], b, 100, 0));
	SHOW(recv(d[1], b, 2, MSG_TRUNC));
	SHOW(recv(d[1], b, 2, 0));
	SHOW(recv(d[1], b, 2, MSG_DONTWAIT));
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, d));
	struct mmsghdr mm[3] = {0};
	struct iovec v[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
	for (int i = 0; i < 3; i++)
		mm[i].msg_hdr.msg_iov = &v[i], mm[i].msg_hdr.msg_iovlen = 1;
	SHOW(sendmmsg(d[0], mm, 3, 0));
	printf("%d %d %d\n", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len);
	char r[3][10] = {0};
	for (int i = 0; i < 3; i++)
		v[i] = (struct iovec){r[i], 10};
	struct timespec t = {1, 0};
	SHOW(recvmmsg(d[1], mm, 3, MSG_WAITFORONE, &t));
	printf("%d %d %d %s %s %s\n", mm[0].msg_len, mm[1].msg_len, mm[2].msg_len, r[0], r[1], r[2]);
	fill(&a, "x"), a.sun_path[0] = 0;
	snprintf(a.sun_path + 1, 50, "abstract-%d", getpid());
	l = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	SHOW(bind(l, (void *)&a, 30)), SHOW(listen(l, 1));
	SHOW(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&a, 30));
	int type;
	n = sizeof type;
	SHOW(getsockopt(l, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(type);
	n = 2;
	SHOW(getsockopt(l, SOL_SOCKET, SO_TYPE, &type, &n));
	SHOW(n);
	SHOW(getsockopt(l, SOL_SOCKET, 9999, &type, &n));
	SHOW(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &type, 1));
	return 0;
}
