/* System V shared memory: relatives, other programs that know the key, counts of attachments, removal while attached, flags and errors. */
#include "victim.h"
#include <sys/ipc.h>
#include <sys/shm.h>
static int id;
static long attached(void)
{
	struct shmid_ds ds;
	MUST(shmctl(id, IPC_STAT, &ds));
	return ds.shm_nattch;
}
static int child(void *p)
{
	int *m = p;
	printf("in a child %ld\n", attached());
	m[0]++;
	int *again = shmat(id, NULL, SHM_RDONLY);
	printf("twice %ld, %d\n", attached(), again[0]);
	SHOW(shmdt(again));
	SHOW(shmdt(m));
	SHOW(shmdt(m));
	printf("detached %ld\n", attached());
	return 0;
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		id = MUST(shmget(atoi(argv[1]), 0, 0));
		int *m = shmat(id, NULL, 0);
		TRUE(m != (void *)-1);
		printf("program sees %d of %ld\n", m[0], attached());
		m[2000] = 99;
		return 0;
	}
	SHOW(shmat(-1, NULL, 0));
	key_t key = 0x484f0000 + getpid();
	id = MUST(shmget(key, 10000, IPC_CREAT | IPC_EXCL | 0600));
	printf("new %ld\n", attached());
	int *m = shmat(id, NULL, 0);
	TRUE(m != (void *)-1);
	printf("attached %ld\n", attached());
	m[0] = 41;
	reap("child", spawn(child, m));
	printf("%d, %ld\n", m[0], attached());
	SHOW(shmat(id, (char *)m + 1, 0));
	SHOW(shmat(id, m, 0));
	TRUE(shmat(id, (char *)m + 1, SHM_RND | SHM_REMAP) == m);
	printf("%d, %ld\n", m[0], attached());
	char k[20];
	sprintf(k, "%d", key);
	pid_t p = MUST(fork());
	if (p == 0)
		execl("/proc/self/exe", "other", k, NULL);
	reap("program", p);
	printf("%d, %ld\n", m[2000], attached());
	SHOW(shmctl(id, IPC_RMID, NULL));
	printf("removed, %ld\n", attached());
	char *fixed = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(fixed, 1 << 20);
	TRUE(shmat(id, fixed, 0) == fixed);
	strcpy(fixed + 8192, "tail");
	printf("%s\n", (char *)m + 8192);
	SHOW(shmdt(m));
	SHOW(shmdt(fixed));
	struct shmid_ds ds;
	SHOW(shmctl(id, IPC_STAT, &ds));
	return 0;
}
