/* statx, extended attributes, statfs, pathconf, name_to_handle, inode flags. */
#include "victim.h"
#include <sys/statvfs.h>
#include <sys/xattr.h>
int main(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0640));
	MUST(write(fd, "12345", 5));
	struct statx x;
	SHOW(statx(AT_FDCWD, "f", 0, STATX_ALL, &x));
	struct stat st;
	MUST(fstat(fd, &st));
	TRUE(x.stx_ino == st.st_ino && x.stx_size == 5 && x.stx_mode == st.st_mode && x.stx_nlink == 1 && x.stx_uid == getuid());
	TRUE(x.stx_mtime.tv_sec == st.st_mtim.tv_sec && x.stx_mtime.tv_nsec == st.st_mtim.tv_nsec);
	SHOW(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
	SHOW(statx(fd, "", 0, STATX_SIZE, &x));
	SHOW(setxattr("f", "user.one", "value", 5, 0));
	SHOW(setxattr("f", "user.one", "value", 5, XATTR_CREATE));
	SHOW(fsetxattr(fd, "user.two", "", 0, 0));
	char b[200];
	SHOW(getxattr("f", "user.one", b, sizeof b));
	printf("%.5s\n", b);
	SHOW(getxattr("f", "user.one", b, 2));
	SHOW(getxattr("f", "user.one", NULL, 0));
	SHOW(fgetxattr(fd, "user.none", b, sizeof b));
	SHOW(listxattr("f", b, sizeof b));
	SHOW(removexattr("f", "user.two"));
	SHOW(flistxattr(fd, b, 1));
	SHOW(lsetxattr("missing", "user.x", "", 0, 0));
	struct statvfs v;
	SHOW(statvfs(".", &v));
	TRUE(v.f_bsize > 0 && v.f_blocks >= v.f_bfree && v.f_namemax == 255);
	SHOW(pathconf(".", _PC_NAME_MAX));
	TRUE(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_PAGESIZE) == 4096);
	struct { struct file_handle h; char more[128]; } h = {.h.handle_bytes = 128};
	int mnt;
	SHOW(name_to_handle_at(AT_FDCWD, "f", &h.h, &mnt, 0));
	h.h.handle_bytes = 0;
	SHOW(name_to_handle_at(AT_FDCWD, "f", &h.h, &mnt, 0));
	TRUE(h.h.handle_bytes > 0);
	return 0;
}
