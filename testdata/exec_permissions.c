/* Programs that may be executed but not read, set-user-id programs, file owners and modes.
 * oracle: mayhome */
#include "victim.h"
static void copy(const char *from, const char *to, int mode)
{
	char b[65536];
	int in = MUST(open(from, O_RDONLY)), out = MUST(open(to, O_CREAT | O_WRONLY, 0700));
	for (long n; (n = read(in, b, sizeof b)) > 0;)
		MUST(write(out, b, n));
	MUST(fchmod(out, mode));
	close(in), close(out);
}
static int run(void *name)
{
	execl(name, name, "-u", NULL);
	printf("%s: %s\n", (char *)name, strerrorname_np(errno));
	return 1;
}
int main(void)
{
	copy("/usr/bin/id", "plain", 0755);
	copy("/usr/bin/id", "unreadable", 0111);
	copy("/usr/bin/id", "noexec", 0644);
	copy("/usr/bin/id", "setuid", 04755);
	reap("plain", spawn(run, "./plain"));
	reap("unreadable", spawn(run, "./unreadable"));
	reap("noexec", spawn(run, "./noexec"));
	reap("setuid of oneself", spawn(run, "./setuid"));
	if (geteuid() == 0) {
		MUST(chown("setuid", 65534, 65534));
		MUST(chmod("setuid", 04755));
		reap("setuid of nobody", spawn(run, "./setuid"));
	}
	unlink("plain"), unlink("unreadable"), unlink("noexec"), unlink("setuid");
	return 0;
}
