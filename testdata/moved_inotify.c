/* What inotify watches and what it has not been read of yet. */
#include "victim.h"
#include <sys/inotify.h>
static int fd, dir, file;
static char buf[65536] __attribute__((aligned(8)));
static int at, end;
static struct inotify_event *next(void)
{
	if (at >= end) {
		end = read(fd, buf, 300); /* a part of the queue at a time */
		at = 0;
		if (end <= 0)
			return NULL;
	}
	struct inotify_event *e = (void *)(buf + at);
	at += sizeof *e + e->len;
	return e;
}
static void event(int wd, unsigned mask, const char *name)
{
	struct inotify_event *e = next();
	EXPECT(e);
	if (e)
		SAME(e->wd, wd), SAME(e->mask, mask), EXPECT(!strcmp(e->len ? e->name : "", name));
}
int main(void)
{
	MUST(mkdir("watched", 0700));
	close(MUST(open("watched/file", O_CREAT | O_WRONLY, 0600)));
	fd = MUST(inotify_init1(IN_NONBLOCK));
	dir = MUST(inotify_add_watch(fd, "watched", IN_CREATE | IN_DELETE | IN_MOVE));
	file = MUST(inotify_add_watch(fd, "watched/file", IN_MODIFY | IN_CLOSE_WRITE));
	do {
		int f = MUST(open("watched/file", O_WRONLY | O_TRUNC));
		MUST(write(f, "x", 1));
		close(f);
		for (int i = 0; i < 5; i++) {
			char name[30];
			snprintf(name, sizeof name, "watched/new%d", i);
			close(MUST(open(name, O_CREAT | O_WRONLY, 0600)));
		}
		MUST(rename("watched/new3", "watched/newer"));
		wait_ms(3);
		event(file, IN_MODIFY, "");
		struct inotify_event *e = next(); /* truncation and write may be one event or two */
		if (e && e->mask == IN_MODIFY)
			e = next();
		SAME(e ? e->mask : 0, IN_CLOSE_WRITE);
		for (int i = 0; i < 5; i++) {
			char name[30];
			snprintf(name, sizeof name, "new%d", i);
			event(dir, IN_CREATE, name);
			wait_ms(1);
		}
		e = next();
		unsigned cookie = e ? e->cookie : 0;
		SAME(e ? e->mask : 0, IN_MOVED_FROM);
		e = next();
		SAME(e ? e->mask : 0, IN_MOVED_TO), SAME(e ? e->cookie : 0, cookie);
		EXPECT(cookie != 0);
		static const char *names[] = {"new0", "new1", "new2", "newer", "new4"};
		for (int i = 0; i < 5; i++) {
			char path[40];
			snprintf(path, sizeof path, "watched/%s", names[i]);
			MUST(unlink(path));
			event(dir, IN_DELETE, names[i]);
		}
		GAVE(read(fd, buf, sizeof buf), -1, EAGAIN);
	} while (going());
	unlink("watched/file"), rmdir("watched");
	return held("inotify");
}
