/* inotify: events of files that this process and a child change. */
#include "victim.h"
#include <sys/inotify.h>
int main(void)
{
	int fd = MUST(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
	MUST(mkdir("d", 0755));
	int w = SHOW(inotify_add_watch(fd, "d", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE | IN_MODIFY));
	close(MUST(open("d/a", O_CREAT | O_WRONLY, 0600)));
	MUST(rename("d/a", "d/b"));
	pid_t c = MUST(fork());
	if (c == 0) {
		int f = MUST(open("d/b", O_WRONLY));
		MUST(write(f, "x", 1));
		close(f);
		MUST(unlink("d/b"));
		_exit(0);
	}
	reap("child", c);
	char buf[4096] __attribute__((aligned(8)));
	long n = read(fd, buf, sizeof buf);
	for (long k = 0; k < n;) {
		struct inotify_event *e = (void *)(buf + k);
		printf("%x %s %d\n", e->mask, e->len ? e->name : "", e->wd == w);
		k += sizeof *e + e->len;
	}
	SHOW(read(fd, buf, sizeof buf));
	SHOW(inotify_rm_watch(fd, w));
	SHOW(inotify_rm_watch(fd, w));
	SHOW(read(fd, buf, 3));
	return 0;
}
