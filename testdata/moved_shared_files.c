/* Two processes that hand a turn to each other in named semaphores whose files are gone, a memfd, POSIX shared memory, a file without a
 * name and a System V segment, while they are moved; a third only reads and writes through a descriptor. Nothing stored may be lost anywhere. */
#include "victim.h"
#include <semaphore.h>
#include <sys/shm.h>
struct area { int n, other; char pad[8000]; int end; };
static sem_t *ping, *pong;
static struct area *in[4];
static int fds[3], rounds = 3000;
static sem_t *gone(const char *what)
{
	char name[60];
	sprintf(name, "/homing-%s-%d", what, getpid());
	sem_t *s = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	MUST(s == SEM_FAILED ? -1 : 0);
	MUST(sem_unlink(name));
	return s;
}
static int partner(void *p)
{
	for (int i = 0; i < rounds; i++) {
		sem_wait(ping);
		for (int j = 0; j < 4; j++) {
			in[j]->n++;
			if (in[j]->n != 2 * i + 2)
				_exit(j + 1);
		}
		sem_post(pong);
	}
	return 0;
}
static int clerk(void *p)
{
	int *pipes = p, last = -1;
	char b;
	while (read(pipes[0], &b, 1) == 1)
		for (int j = 0; j < 3; j++) {
			int v;
			MUST(pread(fds[j], &v, 4, 0));
			if (v < last)
				_exit(j + 1);
			MUST(pwrite(fds[j], &v, 4, offsetof(struct area, end)));
			last = j == 2 ? v : last;
			if (j == 2)
				MUST(write(pipes[3], &v, 4));
		}
	return 0;
}
int main(int argc, char **argv)
{
	char name[60];
	ping = gone("ping"), pong = gone("pong");
	sprintf(name, "/homing-area-%d", getpid());
	fds[0] = MUST(memfd_create("area", 0));
	fds[1] = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	fds[2] = MUST(open("area", O_RDWR | O_CREAT | O_EXCL, 0600));
	MUST(unlink("area"));
	for (int j = 0; j < 3; j++) {
		MUST(ftruncate(fds[j], sizeof(struct area)));
		in[j] = mmap(NULL, sizeof(struct area), PROT_READ | PROT_WRITE, MAP_SHARED, fds[j], 0);
		MUST(in[j] == MAP_FAILED ? -1 : 0);
	}
	int id = MUST(shmget(IPC_PRIVATE, sizeof(struct area), 0600));
	in[3] = shmat(id, NULL, 0);
	MUST(in[3] == (void *)-1 ? -1 : 0);
	MUST(shmctl(id, IPC_RMID, NULL));
	int pipes[4];
	MUST(pipe(pipes)), MUST(pipe(pipes + 2));
	pid_t c = MUST(fork());
	if (c == 0) {
		close(pipes[1]);
		_exit(clerk(pipes));
	}
	pid_t k = spawn(partner, NULL);
	int bad = 0, v;
	for (int i = 0; i < rounds; i++) {
		for (int j = 0; j < 4; j++) {
			in[j]->n++;
			bad += in[j]->n != 2 * i + 1;
		}
		if (i % 20 == 0) {
			MUST(write(pipes[1], "x", 1));
			MUST(read(pipes[2], &v, 4));
			for (int j = 0; j < 3; j++)
				bad += v != 2 * i + 1 || in[j]->end != 2 * i + 1;
			struct shmid_ds ds;
			MUST(shmctl(id, IPC_STAT, &ds));
			bad += ds.shm_nattch < 3;
			wait_ms(5);
		}
		sem_post(ping);
		sem_wait(pong);
	}
	reap("partner", k);
	close(pipes[1]);
	reap("clerk", c);
	printf("bad %d, %d\n", bad, in[3]->n);
	for (int j = 0; j < 3; j++) {
		MUST(pread(fds[j], &v, 4, 0));
		printf("%d %d\n", in[j]->n, v);
	}
	SHOW(shm_unlink(name));
	return 0;
}
