/* Waiting for locks on files: records, open-file descriptions, flock; whoever gets one is alone with it. */
#include "victim.h"
#include <sys/file.h>
static volatile long *s;
static int child(void *p)
{
	long k = (long)p;
	int fd = MUST(open("locked", O_RDWR)), fl = MUST(open("flocked", O_RDWR));
	do {
		struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
		MUST(fcntl(fd, F_SETLKW, &l));
		SAME(__sync_add_and_fetch(&s[0], 1), 1);
		wait_ms(7);
		SAME(__sync_sub_and_fetch(&s[0], 1), 0);
		l.l_type = F_UNLCK;
		MUST(fcntl(fd, F_SETLK, &l));
		l = (struct flock){.l_type = F_WRLCK, .l_start = 20, .l_len = 5};
		MUST(fcntl(fd, F_OFD_SETLKW, &l));
		SAME(__sync_add_and_fetch(&s[1], 1), 1);
		burn(3);
		SAME(__sync_sub_and_fetch(&s[1], 1), 0);
		l.l_type = F_UNLCK;
		MUST(fcntl(fd, F_OFD_SETLK, &l));
		MUST(flock(fl, LOCK_EX));
		SAME(__sync_add_and_fetch(&s[2], 1), 1);
		wait_ms(5);
		SAME(__sync_sub_and_fetch(&s[2], 1), 0);
		MUST(flock(fl, LOCK_UN));
		s[3 + k]++;
	} while (going());
	return victim_faults;
}
int main(void)
{
	s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	close(MUST(open("locked", O_RDWR | O_CREAT, 0600))), close(MUST(open("flocked", O_RDWR | O_CREAT, 0600)));
	pid_t kids[4];
	for (long i = 0; i < 4; i++)
		kids[i] = spawn(child, (void *)i);
	for (int i = 0; i < 4; i++)
		reap("child", kids[i]);
	unlink("locked"), unlink("flocked");
	return held("waiting for locks");
}
