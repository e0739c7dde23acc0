/* System V shared memory, semaphores and message queues. */
#include "victim.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
static int child(void *p)
{
	(*(int *)p)++;
	return 0;
}
int main(void)
{
	int sem = MUST(semget(IPC_PRIVATE, 2, 0600));
	SHOW(semctl(sem, 0, SETVAL, 3));
	struct sembuf op = {0, -2, IPC_NOWAIT};
	SHOW(semop(sem, &op, 1));
	SHOW(semop(sem, &op, 1));
	SHOW(semctl(sem, 0, GETVAL));
	SHOW(semctl(sem, 0, IPC_RMID));
	int q = MUST(msgget(IPC_PRIVATE, 0600));
	struct { long type; char text[20]; } m = {5, "message"};
	SHOW(msgsnd(q, &m, 8, 0));
	memset(&m, 0, sizeof m);
	SHOW(msgrcv(q, &m, 20, 0, IPC_NOWAIT));
	printf("%ld %s\n", m.type, m.text);
	SHOW(msgctl(q, IPC_RMID, NULL));
	int id = MUST(shmget(IPC_PRIVATE, 8192, 0600));
	int *p = shmat(id, NULL, 0);
	TRUE(p != (void *)-1);
	p[0] = 10;
	reap("child", spawn(child, p));
	printf("%d\n", p[0]);
	struct shmid_ds ds;
	SHOW(shmctl(id, IPC_STAT, &ds));
	printf("attached %ld, mine %d\n", (long)ds.shm_nattch, ds.shm_cpid == getpid());
	SHOW(shmdt(p));
	SHOW(shmctl(id, IPC_RMID, NULL));
	return 0;
}
