/* Numbered messages: datagrams, sequenced packets, pipes of packets, message queues, each whole, once and in order. */
#include "victim.h"
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/ipc.h>
#include <sys/msg.h>
static int fd[4][2], queue;
static mqd_t mq;
static volatile long sent[6];
struct msg { long type, number; char fill[300]; };
static size_t size(long n) { return sizeof(long) * 2 + n * 37 % 300; }
static int sends(int k, struct msg *m)
{
	size_t len = size(m->number);
	switch (k) {
	case 3: return write(fd[k][1], m, len);
	case 4: return msgsnd(queue, m, len - sizeof(long), 0);
	case 5: return mq_send(mq, (void *)m, len, 0);
	default: return send(fd[k][1], m, len, 0);
	}
}
static long receives(int k, struct msg *m)
{
	switch (k) {
	case 3: return read(fd[k][0], m, sizeof *m);
	case 4: {
		long n = msgrcv(queue, m, sizeof *m - sizeof(long), 0, 0);
		return n < 0 ? n : n + (long)sizeof(long);
	}
	case 5: return mq_receive(mq, (void *)m, sizeof *m, NULL);
	default: return recv(fd[k][0], m, sizeof *m, 0);
	}
}
static void *thread(void *p)
{
	int k = (long)p / 2;
	struct msg m = {.type = 1};
	memset(m.fill, 'm', sizeof m.fill);
	if ((long)p % 2) {
		for (m.number = 0; going() || m.number < 5; m.number++) {
			long want = k == 4 || k == 5 ? 0 : (long)size(m.number);
			SAME(sends(k, &m), want);
			if (k == 0 && m.number % 20 == 0) { /* UDP may lose what is not awaited: some credit only */
				char c;
				SAME(recv(fd[0][1], &c, 1, 0), 1);
			}
		}
		m.type = 2;
		sends(k, &m);
		sent[k] = m.number;
	} else
		for (long n = 0;; n++) {
			long len = receives(k, &m);
			if (m.type == 2)
				return NULL;
			SAME(m.number, n), SAME(len, size(n));
			EXPECT(len <= 16 || m.fill[len - 17] == 'm');
			if (k == 0 && n % 20 == 0)
				SAME(send(fd[0][0], "c", 1, 0), 1);
			if (n % 64 == 0)
				wait_ms(1);
		}
	return NULL;
}
int main(void)
{
	struct sockaddr_in a[2];
	socklen_t l = sizeof *a;
	char name[64];
	for (int i = 0; i < 2; i++) {
		fd[0][i] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
		a[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		MUST(bind(fd[0][i], (void *)&a[i], l));
		MUST(getsockname(fd[0][i], (void *)&a[i], &l));
	}
	MUST(connect(fd[0][0], (void *)&a[1], l)), MUST(connect(fd[0][1], (void *)&a[0], l));
	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd[1])), MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd[2]));
	MUST(pipe2(fd[3], O_DIRECT));
	queue = MUST(msgget(IPC_PRIVATE, 0600));
	snprintf(name, sizeof name, "/victim.%d", getpid());
	mq = MUST(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &(struct mq_attr){.mq_maxmsg = 5, .mq_msgsize = sizeof(struct msg)}));
	mq_unlink(name);
	threads(12, thread);
	MUST(msgctl(queue, IPC_RMID, NULL));
	for (int k = 0; k < 6; k++)
		EXPECT(sent[k] >= 5);
	return held("messages");
}
