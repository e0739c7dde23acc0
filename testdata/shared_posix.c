/* POSIX shared memory and named semaphores, between relatives and between programs that know nothing but the name. */
#include "victim.h"
#include <semaphore.h>
static char shm[40], sem[40];
static int other(void *p)
{
	int fd = MUST(shm_open(shm, O_RDWR, 0));
	sem_t *s = sem_open(sem, 0);
	int *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == SEM_FAILED || m == MAP_FAILED)
		return 1;
	close(fd);
	for (int i = 0; i < 500; i++) {
		sem_wait(s);
		m[0]++;
		sem_post(s);
	}
	return 0;
}
static int looker(void *p)
{
	int fd = MUST(shm_open(shm, O_RDONLY, 0));
	volatile int *m = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	SHOW(mprotect((void *)m, 8192, PROT_READ | PROT_WRITE));
	SHOW(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	while (m[1] == 0)
		usleep(1000);
	printf("looker saw %d\n", m[1]);
	return 0;
}
int main(void)
{
	sprintf(shm, "/homing-victim-%d", getpid());
	sprintf(sem, "/homing-sem-%d", getpid());
	int fd = MUST(shm_open(shm, O_RDWR | O_CREAT | O_EXCL, 0600));
	MUST(ftruncate(fd, 8192));
	sem_t *s = sem_open(sem, O_CREAT | O_EXCL, 0600, 1);
	TRUE(s != SEM_FAILED);
	int *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE(m != MAP_FAILED);
	pid_t a = spawn(other, NULL), b = spawn(other, NULL);
	reap("a", a), reap("b", b);
	printf("%d\n", m[0]);
	int v;
	sem_getvalue(s, &v);
	printf("value %d\n", v);
	pid_t l = spawn(looker, NULL);
	m[1] = 42;
	reap("looker", l);
	SHOW(shm_unlink(shm));
	SHOW(sem_unlink(sem));
	SHOW(sem_close(s));
	m[1000] = 7;
	int got;
	MUST(pread(fd, &got, 4, 4000));
	printf("%d\n", got);
	return 0;
}
