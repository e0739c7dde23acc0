/* open flags, seeking, truncation, holes, append, rename, link, unlink, modes, umask, times, access, and their errors. */
#include "victim.h"
#include <sys/file.h>
static void mode(const char *name)
{
	struct stat st;
	if (lstat(name, &st) == -1)
		printf("%s: %s\n", name, strerrorname_np(errno));
	else
		printf("%s: %o size %ld links %ld mine %d\n", name, st.st_mode, (long)(S_ISDIR(st.st_mode) ? 0 : st.st_size), (long)(S_ISDIR(st.st_mode) ? 0 : st.st_nlink), st.st_uid == geteuid());
}
int main(void)
{
	char buf[100] = "";
	printf("umask %o\n", umask(027));
	int fd = SHOW(open("a", O_RDWR | O_CREAT | O_EXCL, 0666));
	SHOW(open("a", O_RDWR | O_CREAT | O_EXCL, 0666));
	mode("a");
	SHOW(write(fd, "hello world", 11));
	SHOW(lseek(fd, 6, SEEK_SET));
	SHOW(read(fd, buf, 100));
	SHOW(lseek(fd, -5, SEEK_END));
	SHOW(lseek(fd, -100, SEEK_CUR));
	SHOW(lseek(fd, 1 << 20, SEEK_SET));
	SHOW(write(fd, "end", 3));
	SHOW(lseek(fd, 0, SEEK_HOLE) <= 1 << 20);
	SHOW(ftruncate(fd, 5));
	SHOW(pread(fd, buf, 100, 0));
	SHOW(pwrite(fd, "P", 1, 2));
	SHOW(lseek(fd, 0, SEEK_CUR));
	int ap = SHOW(open("a", O_WRONLY | O_APPEND));
	SHOW(write(ap, "++", 2));
	SHOW(pwrite(ap, "==", 2, 0));
	SHOW(lseek(ap, 0, SEEK_CUR));
	SHOW(read(ap, buf, 1));
	SHOW(write(open("a", O_RDONLY), "x", 1));
	int d = dup(fd);
	SHOW(lseek(d, 3, SEEK_SET));
	SHOW(lseek(fd, 0, SEEK_CUR));
	pid_t c = MUST(fork());
	if (c == 0) {
		lseek(fd, 1, SEEK_CUR);
		_exit(0);
	}
	reap("child moves the offset", c);
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(link("a", "b"));
	mode("a");
	SHOW(rename("a", "c"));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "c", 1));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "b", AT_FDCWD, "missing", 2));
	SHOW(unlink("b"));
	SHOW(unlink("b"));
	SHOW(mkdir("dir", 0777));
	mode("dir");
	SHOW(open("dir", O_RDWR));
	SHOW(open("dir", O_CREAT | O_RDONLY, 0600));
	SHOW(rmdir("c"));
	SHOW(unlink("dir"));
	SHOW(close(open("dir/x", O_CREAT | O_WRONLY, 0644)));
	SHOW(rmdir("dir"));
	SHOW(open("c/x", O_RDONLY));
	SHOW(symlink("c", "sym"));
	SHOW(open("sym", O_RDONLY | O_NOFOLLOW));
	SHOW(readlink("sym", buf, 100));
	SHOW(readlink("c", buf, 100));
	mode("sym");
	SHOW(symlink("loop1", "loop2")), SHOW(symlink("loop2", "loop1"));
	SHOW(open("loop1", O_RDONLY));
	SHOW(open("dir", O_TMPFILE | O_RDWR, 0600) >= 0);
	SHOW(chmod("c", 0400));
	SHOW(access("c", W_OK) == (geteuid() ? -1 : 0));
	SHOW(faccessat(AT_FDCWD, "c", R_OK, AT_EACCESS));
	SHOW(fchmod(fd, 06755));
	mode("c");
	SHOW(chown("c", -1, -1));
	mode("c");
	struct timespec t[2] = {{1000, 5}, {2000, 6}};
	SHOW(utimensat(AT_FDCWD, "c", t, 0));
	struct stat st;
	SHOW(stat("c", &st));
	printf("%ld.%ld %ld.%ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	t[0].tv_nsec = UTIME_OMIT, t[1].tv_nsec = UTIME_NOW;
	SHOW(futimens(fd, t));
	SHOW(stat("c", &st));
	TRUE(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec > 1000000000);
	SHOW(fallocate(fd, 0, 0, 10000));
	SHOW(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	SHOW(fsync(fd)), SHOW(fdatasync(fd));
	SHOW(flock(fd, LOCK_EX | LOCK_NB));
	int other = open("c", O_RDONLY);
	SHOW(flock(other, LOCK_SH | LOCK_NB));
	SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
	char longname[300];
	memset(longname, 'n', 299), longname[299] = 0;
	SHOW(open(longname, O_CREAT | O_WRONLY, 0600));
	static char longpath[5000];
	memset(longpath, '/', 4999);
	SHOW(open(longpath, O_RDONLY));
	SHOW(open("", O_RDONLY));
	SHOW(close(999)), SHOW(dup(999)), SHOW(fsync(-1));
	SHOW(mknod("fifo", S_IFIFO | 0600, 0));
	SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
	mode("fifo");
	int dirfd = open("dir", O_RDONLY | O_DIRECTORY);
	SHOW(openat(dirfd, "x", O_RDONLY) >= 0);
	SHOW(unlinkat(dirfd, "x", 0));
	SHOW(linkat(AT_FDCWD, "c", dirfd, "hard", 0));
	SHOW(fchdir(dirfd));
	SHOW(access("hard", F_OK));
	SHOW(unlinkat(AT_FDCWD, "../dir", AT_REMOVEDIR));
	return 0;
}
