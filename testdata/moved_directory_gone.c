/* The working directory was removed, the umask is odd, a directory is read half. */
#include "victim.h"
#include <dirent.h>
int main(void)
{
	char b[PATH_MAX];
	struct stat st, first;
	MUST(mkdir("many", 0700));
	for (int i = 0; i < 300; i++) {
		snprintf(b, sizeof b, "many/%03d", i);
		close(MUST(open(b, O_CREAT | O_WRONLY, 0600)));
	}
	DIR *d = opendir("many");
	int home = MUST(open(".", O_PATH | O_DIRECTORY)), seen = 0;
	umask(0137);
	MUST(mkdir("gone", 0700));
	MUST(chdir("gone"));
	MUST(rmdir("../gone"));
	MUST(stat(".", &first));
	do {
		GAVE(syscall(SYS_getcwd, b, sizeof b), -1, ENOENT);
		GAVE(open("file", O_CREAT | O_WRONLY, 0600), -1, ENOENT);
		MUST(stat(".", &st));
		SAME(st.st_ino, first.st_ino), SAME(st.st_nlink, 0);
		int fd = MUST(openat(home, "file", O_CREAT | O_WRONLY, 0777));
		MUST(fstat(fd, &st));
		SAME(st.st_mode & 0777, 0640);
		close(fd);
		MUST(unlinkat(home, "file", 0));
		if (readdir(d))
			seen++;
		wait_ms(1);
	} while (going());
	while (readdir(d))
		seen++;
	SAME(seen, 302);
	SAME(umask(0), 0137);
	MUST(fchdir(MUST(openat(home, ".", O_RDONLY | O_DIRECTORY))));
	for (int i = 0; i < 300; i++) {
		snprintf(b, sizeof b, "many/%03d", i);
		MUST(unlink(b));
	}
	MUST(rmdir("many"));
	return held("working directory and umask");
}
