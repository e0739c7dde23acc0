/* Processes that share a memfd and POSIX shared memory, one of which has to come home: what was stored comes with them, a waiter in it is
 * woken, calls go on seeing what is stored; so does somebody who only has the descriptor.
 * oracle: home io_uring */
#include "victim.h"
#include <semaphore.h>
struct shared { sem_t go, done, late; int n; char text[4000]; };
static int fd;
static int waiter(void *p)
{
	struct shared *s = p;
	sem_wait(&s->go);
	s->n++;
	snprintf(s->text, sizeof s->text, "woken");
	sem_post(&s->done);
	return 0;
}
static int holder(void *p)
{
	int *pipe = p;
	char b[8];
	struct shared s;
	while (read(pipe[0], b, 1) == 1) {
		MUST(pread(fd, &s, sizeof s, 0));
		printf("holder reads %d %s\n", s.n, s.text);
		MUST(write(pipe[3], b, 1));
	}
	return 0;
}
int main(void)
{
	fd = MUST(memfd_create("shared", 0));
	MUST(ftruncate(fd, sizeof(struct shared)));
	int pipes[4];
	MUST(pipe(pipes)), MUST(pipe(pipes + 2));
	fcntl(pipes[1], F_SETFD, 0);
	pid_t h = MUST(fork());
	if (h == 0) {
		close(pipes[1]);
		_exit(holder(pipes));
	}
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(s != MAP_FAILED);
	sem_init(&s->go, 1, 0), sem_init(&s->done, 1, 0);
	char name[40], b[64] = "";
	sprintf(name, "/homing-home-%d", getpid());
	int pfd = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	MUST(ftruncate(pfd, 100000));
	char *posix = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, pfd, 0);
	strcpy(posix + 90000, "far away");
	pid_t k = spawn(waiter, s);
	s->n = 5;
	strcpy(s->text, "before");
	MUST(write(pipes[1], "x", 1)), MUST(read(pipes[2], b, 1));
	DID(syscall(425, 1, NULL)); /* io_uring_setup */
	printf("%d %s %s\n", s->n, s->text, posix + 90000);
	MUST(pread(pfd, b, 20, 90000));
	printf("%s\n", b);
	sem_post(&s->go);
	sem_wait(&s->done);
	printf("%d %s\n", s->n, s->text);
	reap("waiter", k);
	MUST(write(pipes[1], "x", 1)), MUST(read(pipes[2], b, 1));
	strcpy(s->text, "after");
	MUST(write(pipes[1], "x", 1)), MUST(read(pipes[2], b, 1));
	MUST(pwrite(fd, "written", 8, offsetof(struct shared, text)));
	printf("%s\n", s->text);
	close(pipes[1]);
	reap("holder", h);
	SHOW(shm_unlink(name));
	return 0;
}
