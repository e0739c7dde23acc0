/* getdents of a large directory through small and large buffers, seekdir, nftw, chdir and fchdir, getcwd of removed directories. */
#include "victim.h"
#include <dirent.h>
#include <ftw.h>
static int count, dirs;
static int visit(const char *p, const struct stat *s, int f, struct FTW *w) { (void)p, (void)s, (void)w; count++, dirs += f == FTW_D; return 0; }
int main(void)
{
	char name[100];
	MUST(mkdir("many", 0755));
	MUST(chdir("many"));
	for (int i = 0; i < 700; i++) {
		snprintf(name, sizeof name, "entry-with-a-longer-name-%04d", i);
		MUST(close(MUST(open(name, O_CREAT | O_WRONLY, 0600))));
	}
	DIR *d = opendir(".");
	unsigned long sum = 0;
	int n = 0;
	for (struct dirent *e; (e = readdir(d)); n++)
		for (char *p = e->d_name; *p; p++)
			sum += *p;
	printf("%d entries, sum %lu\n", n, sum);
	rewinddir(d);
	readdir(d), readdir(d);
	long at = telldir(d);
	char *third = strdup(readdir(d)->d_name);
	seekdir(d, at);
	TRUE(strcmp(third, readdir(d)->d_name) == 0);
	closedir(d);
	int fd = MUST(open(".", O_RDONLY | O_DIRECTORY)), calls = 0;
	char small[64];
	n = 0;
	for (long r; (r = syscall(SYS_getdents64, fd, small, sizeof small)) > 0; calls++)
		for (long k = 0; k < r; k += ((struct dirent64 *)(small + k))->d_reclen)
			n++;
	printf("small buffer: %d entries\n", n);
	lseek(fd, 0, SEEK_SET);
	SHOW(syscall(SYS_getdents64, fd, small, 10));
	SHOW(syscall(SYS_getdents64, 0, small, 10));
	MUST(chdir(".."));
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "d%d", i);
		MUST(mkdir(name, 0755));
		MUST(chdir(name));
	}
	char cwd[4096];
	TRUE(getcwd(cwd, sizeof cwd) && strstr(cwd, "d0/d1/d2/d3"));
	SHOW(getcwd(cwd, 5) ? 0 : errno);
	SHOW(fchdir(fd));
	SHOW(access("entry-with-a-longer-name-0001", F_OK));
	MUST(chdir(".."));
	SHOW(nftw(".", visit, 5, FTW_PHYS));
	printf("%d files, %d directories\n", count, dirs);
	MUST(mkdir("gone", 0755)), MUST(chdir("gone")), MUST(rmdir("../gone"));
	SHOW(getcwd(cwd, sizeof cwd) ? 0 : errno);
	SHOW(open("x", O_CREAT | O_WRONLY, 0600));
	SHOW(chdir(".."));
	return 0;
}
