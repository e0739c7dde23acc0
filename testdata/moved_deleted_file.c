/* A file without a name: contents, size, position, holes; and a name given to it at last. */
#include "victim.h"
#include <sys/statfs.h>
int main(void)
{
	char b[512], path[64];
	struct stat st;
	int fd = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0640)), ro = MUST(open("file", O_RDONLY)), tmp;
	MUST(unlink("file"));
	long n = 0;
	do {
		int len = snprintf(b, sizeof b, "line %ld\n", n);
		SAME(write(fd, b, len), len);
		char c[64] = "";
		SAME(read(ro, c, len), len);
		EXPECT(!memcmp(b, c, len));
		MUST(fstat(fd, &st));
		SAME(st.st_nlink, 0), SAME(st.st_mode & 0777, 0640);
		SAME(st.st_size, lseek(fd, 0, SEEK_CUR));
		GAVE(access("file", F_OK), -1, ENOENT);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		memset(b, 0, sizeof b);
		MUST(readlink(path, b, sizeof b - 1));
		EXPECT(strstr(b, "/file (deleted)"));
		int again = MUST(open(path, O_RDONLY));
		SAME(pread(again, c, 7, 0), 7);
		EXPECT(!memcmp(c, "line 0\n", 7));
		close(again);
		n++;
		wait_ms(1);
	} while (going());
	MUST(ftruncate(fd, 1 << 20));
	SAME(lseek(fd, 0, SEEK_HOLE) < 1 << 20, 1);
	tmp = open(".", O_TMPFILE | O_RDWR, 0600);
	if (tmp >= 0) {
		MUST(write(tmp, "named late", 10));
		wait_ms(60);
		snprintf(path, sizeof path, "/proc/self/fd/%d", tmp);
		MUST(linkat(AT_FDCWD, path, AT_FDCWD, "late", AT_SYMLINK_FOLLOW));
		int f = MUST(open("late", O_RDONLY));
		SAME(read(f, b, sizeof b), 10);
		unlink("late");
	}
	return held("deleted file");
}
