/* Waiting for semaphores and message queues, with and without time. */
#include "victim.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
static int sems, in, full;
static mqd_t mq, empty;
static void *thread(void *p)
{
	long k = (long)p;
	do {
		struct timespec t = {0, 120000000};
		struct sembuf take = {0, -1, 0}, give = {1, 1, 0}, never = {2, -1, 0};
		struct { long type; char text[40]; } m = {1, "to the full queue"};
		char b[64];
		switch (k) {
		case 0: /* passes a token with the next one */
			MUST(semop(sems, &take, 1));
			MUST(semop(sems, &give, 1));
			break;
		case 1:
			take.sem_num = 1, give.sem_num = 0;
			wait_ms(5);
			MUST(semop(sems, &give, 1));
			MUST(semop(sems, &take, 1));
			break;
		case 2: TIMED(0.12, semtimedop(sems, &never, 1, &t), -1, EAGAIN); break;
		case 3:
			GAVE(msgrcv(in, &m, sizeof m.text, 3, 0), 6, 0);
			EXPECT(!memcmp(m.text, "third", 6));
			break;
		case 4:
			wait_ms(30);
			m.type = 3, memcpy(m.text, "third", 6);
			MUST(msgsnd(in, &m, 6, 0));
			break;
		case 5: GAVE(msgsnd(full, &m, 40, 0), 0, 0); break; /* waits for room */
		case 6:
			wait_ms(25);
			GAVE(msgrcv(full, &m, 40, 0, 0), 40, 0);
			break;
		case 7: {
			clock_gettime(CLOCK_REALTIME, &t);
			t.tv_nsec += 120000000, t.tv_sec += t.tv_nsec / 1000000000, t.tv_nsec %= 1000000000;
			TIMED(0.119, mq_timedreceive(empty, b, sizeof b, NULL, &t), -1, ETIMEDOUT);
			break;
		}
		case 8: GAVE(mq_receive(mq, b, sizeof b, NULL), 7, 0); break;
		case 9:
			wait_ms(20);
			MUST(mq_send(mq, "message", 7, 0));
		}
	} while (going());
	/* nobody waits for ever: each gives its partner what it may wait for */
	struct { long type; char text[40]; } m = {3, "third"};
	struct sembuf give = {0, 1, 0};
	if (k == 4)
		MUST(msgsnd(in, &m, 6, 0));
	if (k == 6)
		while (msgrcv(full, &m, 40, 0, IPC_NOWAIT) > 0)
			;
	if (k == 9)
		MUST(mq_send(mq, "message", 7, 0));
	if (k == 1)
		MUST(semop(sems, &give, 1));
	if (k == 0)
		give.sem_num = 1, MUST(semop(sems, &give, 1));
	return NULL;
}
int main(void)
{
	char name[40];
	sems = MUST(semget(IPC_PRIVATE, 3, 0600));
	in = MUST(msgget(IPC_PRIVATE, 0600)), full = MUST(msgget(IPC_PRIVATE, 0600));
	struct msqid_ds ds;
	MUST(msgctl(full, IPC_STAT, &ds));
	ds.msg_qbytes = 80;
	MUST(msgctl(full, IPC_SET, &ds));
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof name, "/victim.%d.%d", getpid(), i);
		*(i ? &empty : &mq) = MUST(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &(struct mq_attr){.mq_maxmsg = 5, .mq_msgsize = 64}));
		mq_unlink(name);
	}
	threads(10, thread);
	MUST(semctl(sems, 0, IPC_RMID)), MUST(msgctl(in, IPC_RMID, NULL)), MUST(msgctl(full, IPC_RMID, NULL));
	return held("IPC");
}
