/* fcntl and flock locks between processes: conflicts, who holds them, waiting, release by close and by exit, deadlock, OFD locks. */
#include "victim.h"
#include <sys/file.h>
static int holds(void *p)
{
	int *pipe = p, fd = MUST(open("f", O_RDWR));
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
	MUST(fcntl(fd, F_SETLK, &l));
	MUST(write(pipe[1], "x", 1));
	wait_ms(80);
	return 0;
}
static int deadlocks(void *p)
{
	int *pipe = p, fd = MUST(open("f", O_RDWR));
	struct flock l = {.l_type = F_WRLCK, .l_start = 100, .l_len = 1};
	MUST(fcntl(fd, F_SETLK, &l));
	MUST(write(pipe[1], "x", 1));
	l.l_start = 200;
	return fcntl(fd, F_SETLKW, &l) == 0 ? 1 : 2;
}
int main(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600)), p[2];
	char b;
	MUST(pipe(p));
	pid_t c = spawn(holds, p);
	MUST(read(p[0], &b, 1));
	struct flock l = {.l_type = F_WRLCK};
	SHOW(fcntl(fd, F_SETLK, &l));
	SHOW(fcntl(fd, F_GETLK, &l));
	printf("type %d start %ld len %ld holder %d\n", l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid == c);
	l = (struct flock){.l_type = F_RDLCK, .l_len = 10};
	SHOW(fcntl(fd, F_SETLK, &l));
	l = (struct flock){.l_type = F_WRLCK};
	double t = now();
	SHOW(fcntl(fd, F_SETLKW, &l));
	TRUE(now() - t > 0.02);
	reap("holder", c);
	l.l_type = F_UNLCK;
	SHOW(fcntl(fd, F_SETLK, &l));
	l = (struct flock){.l_type = F_WRLCK, .l_start = 200, .l_len = 1};
	MUST(fcntl(fd, F_SETLK, &l));
	c = spawn(deadlocks, p);
	MUST(read(p[0], &b, 1));
	wait_ms(40);
	l.l_start = 100;
	SHOW(fcntl(fd, F_SETLKW, &l));
	l.l_type = F_UNLCK, l.l_start = 0, l.l_len = 0;
	SHOW(fcntl(fd, F_SETLK, &l));
	reap("other", c);
	l.l_type = F_WRLCK;
	MUST(fcntl(fd, F_SETLK, &l));
	c = MUST(fork()); /* not inherited */
	if (c == 0) {
		SHOW(fcntl(fd, F_SETLK, &l));
		_exit(0);
	}
	reap("child", c);
	close(open("f", O_RDONLY)); /* closing any descriptor gives the lock up */
	c = MUST(fork());
	if (c == 0) {
		SHOW(fcntl(fd, F_SETLK, &l));
		_exit(0);
	}
	reap("child", c);
	l = (struct flock){.l_type = F_WRLCK};
	SHOW(fcntl(fd, F_OFD_SETLK, &l));
	int second = MUST(open("f", O_RDWR));
	SHOW(fcntl(second, F_OFD_SETLK, &l));
	SHOW(fcntl(second, F_OFD_GETLK, &l));
	printf("type %d pid %d\n", l.l_type, l.l_pid);
	SHOW(flock(fd, LOCK_EX));
	SHOW(flock(second, LOCK_EX | LOCK_NB));
	c = MUST(fork());
	if (c == 0) {
		SHOW(flock(fd, LOCK_EX | LOCK_NB)); /* shared by fork */
		_exit(0);
	}
	reap("child", c);
	SHOW(flock(fd, LOCK_UN));
	SHOW(flock(second, LOCK_EX | LOCK_NB));
	SHOW(fcntl(fd, F_SETLEASE, F_RDLCK));
	return 0;
}
