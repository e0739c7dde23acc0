/* Locks that are held stay held: records, open-file descriptions, flock, leases; others find them taken and see who has them. */
#include "victim.h"
#include <sys/file.h>
static int cmd[2], ans[2];
/* The other process tries what it is told to. */
static int other(void *p)
{
	int fd = MUST(open("locked", O_RDWR)), fl = MUST(open("flocked", O_RDWR));
	char c;
	(void)p;
	close(cmd[1]);
	while (read(cmd[0], &c, 1) == 1) {
		struct flock l = {.l_type = F_WRLCK, .l_start = 15, .l_len = 10};
		long r[4];
		r[0] = fcntl(fd, F_SETLK, &l) == -1 ? errno : 0;
		MUST(fcntl(fd, F_GETLK, &l));
		r[1] = l.l_type == F_WRLCK && l.l_start == 10 && l.l_len == 10 ? l.l_pid : -1;
		l = (struct flock){.l_type = F_WRLCK, .l_start = 55, .l_len = 1};
		r[2] = fcntl(fd, F_OFD_SETLK, &l) == -1 ? errno : 0;
		r[3] = flock(fl, LOCK_SH | LOCK_NB) == -1 ? errno : 0;
		l = (struct flock){.l_type = F_WRLCK, .l_start = 30, .l_len = 5};
		MUST(fcntl(fd, F_SETLK, &l)); /* free */
		l.l_type = F_UNLCK;
		MUST(fcntl(fd, F_SETLK, &l));
		MUST(write(ans[1], r, sizeof r));
	}
	return victim_faults;
}
int main(void)
{
	MUST(pipe(cmd)), MUST(pipe(ans));
	int fd = MUST(open("locked", O_RDWR | O_CREAT, 0600)), ofd = MUST(open("locked", O_RDWR)), fl = MUST(open("flocked", O_RDWR | O_CREAT, 0600));
	int leased = MUST(open("leased", O_RDWR | O_CREAT, 0600));
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10}, o = {.l_type = F_RDLCK, .l_start = 50, .l_len = 10};
	MUST(fcntl(fd, F_SETLK, &l));
	MUST(fcntl(ofd, F_OFD_SETLK, &o));
	MUST(flock(fl, LOCK_EX));
	MUST(fcntl(leased, F_SETLEASE, F_WRLCK));
	pid_t pid = spawn(other, NULL);
	close(cmd[0]);
	do {
		long r[4];
		MUST(write(cmd[1], "?", 1));
		SAME(read(ans[0], r, sizeof r), sizeof r);
		SAME(r[0], EAGAIN), SAME(r[1], getpid()), SAME(r[2], EAGAIN), SAME(r[3], EAGAIN);
		SAME(fcntl(leased, F_GETLEASE), F_WRLCK);
		for (volatile long i = 0; i < 300000; i++)
			;
	} while (going());
	close(cmd[1]);
	reap("other", pid);
	unlink("locked"), unlink("flocked"), unlink("leased");
	return held("locks");
}
