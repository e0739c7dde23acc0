/* /proc/self tells the truth about this program: exe, cwd, cmdline, comm, status, stat, maps, fd, task, environ, limits. */
#include "victim.h"
#include <dirent.h>
#include <sys/prctl.h>
static char buf[1 << 18];
static char *slurp(const char *name)
{
	int fd = open(name, O_RDONLY);
	long n = 0, r;
	if (fd < 0)
		return strcpy(buf, strerrorname_np(errno));
	while (n < (long)sizeof buf - 1 && (r = read(fd, buf + n, sizeof buf - 1 - n)) > 0)
		n += r;
	close(fd);
	buf[n] = 0;
	return buf;
}
static long field(const char *name)
{
	char *p = strstr(slurp("/proc/self/status"), name);
	return p ? strtol(p + strlen(name), NULL, strstr(name, "Sig") || strstr(name, "Shd") ? 16 : 10) : -1;
}
static int mapped(void *addr, const char *perms, const char *path)
{
	char *line = slurp("/proc/self/maps"), p[8], name[500];
	unsigned long a, b, x = (unsigned long)addr;
	for (; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		name[0] = 0;
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %499s", &a, &b, p, name) >= 3 && a <= x && x < b)
			return strcmp(p, perms) == 0 && strstr(name, path);
	}
	return -1;
}
static int global;
static void *thread(void *p) { prctl(PR_SET_NAME, "its-own-name"); pthread_barrier_wait(p); pthread_barrier_wait(p); return NULL; }
int main(int argc, char **argv)
{
	char link[4096], name[100];
	long n = readlink("/proc/self/exe", link, sizeof link - 1);
	link[n > 0 ? n : 0] = 0;
	TRUE(strcmp(link, argv[0]) == 0);
	n = readlink("/proc/self/cwd", link, sizeof link - 1), link[n] = 0;
	TRUE(strcmp(link, get_current_dir_name()) == 0);
	TRUE(strcmp(slurp("/proc/self/cmdline"), argv[0]) == 0);
	printf("comm %s", slurp("/proc/self/comm"));
	prctl(PR_SET_NAME, "renamed");
	printf("comm %s", slurp("/proc/self/comm"));
	prctl(PR_GET_NAME, name);
	printf("name %s\n", name);
	int fd = open("/proc/self/comm", O_WRONLY);
	SHOW(write(fd, "written", 7));
	prctl(PR_GET_NAME, name);
	printf("name %s\n", name);
	TRUE(field("\nPid:") == getpid() && field("\nTgid:") == getpid() && field("\nPPid:") == getppid());
	TRUE(field("\nTracerPid:") == 0);
	TRUE(field("\nUid:") == getuid() && field("\nThreads:") == 1 && field("\nSeccomp:") == 0 && field("\nNoNewPrivs:") == 0);
	TRUE(field("\nVmRSS:") > 200 && field("\nVmSize:") > field("\nVmRSS:"));
	char *big = malloc(64 << 20);
	memset(big, 1, 64 << 20);
	TRUE(field("\nVmRSS:") > 64 << 10 && field("\nVmHWM:") > 64 << 10);
	block(SIGUSR1, NULL);
	signal(SIGUSR2, SIG_IGN);
	handle(SIGTERM, (void *)thread, 0);
	TRUE(field("\nSigBlk:") == 1L << (SIGUSR1 - 1));
	TRUE(field("\nSigIgn:") == 1L << (SIGUSR2 - 1));
	TRUE(field("\nSigCgt:") == 1L << (SIGTERM - 1));
	kill(getpid(), SIGUSR1);
	TRUE((field("\nShdPnd:") | field("\nSigPnd:")) == 1L << (SIGUSR1 - 1));
	char *s = strrchr(slurp("/proc/self/stat"), ')');
	char state;
	int ppid, pgrp, sid;
	TRUE(sscanf(s, ") %c %d %d %d", &state, &ppid, &pgrp, &sid) == 4 && state == 'R' && ppid == getppid() && pgrp == getpgrp() && sid == getsid(0));
	TRUE(mapped(main, "r-xp", "proc_self") > 0);
	TRUE(mapped(&global, "rw-p", "proc_self") > 0);
	TRUE(mapped(&fd, "rw-p", "[stack]") > 0);
	TRUE(mapped(sbrk(0) - 100, "rw-p", "[heap]") > 0);
	TRUE(strstr(slurp("/proc/self/maps"), "[vdso]") && strstr(buf, "libc.so.6"));
	void *m = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, MUST(open(argv[0], O_RDONLY)), 4096);
	TRUE(mapped(m, "r--p", "proc_self") > 0);
	TRUE(strstr(slurp("/proc/self/smaps"), "Rss:") && strstr(buf, "[heap]"));
	unsigned long pages, res;
	TRUE(sscanf(slurp("/proc/self/statm"), "%lu %lu", &pages, &res) == 2 && pages >= res && res > 16000);
	TRUE(strstr(slurp("/proc/self/limits"), "Max open files"));
	TRUE(memmem(slurp("/proc/self/environ"), sizeof buf, "PATH=", 5) != NULL);
	DIR *d = opendir("/proc/self/fd");
	int fds = 0, good = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			fds++;
			good += fcntl(atoi(e->d_name), F_GETFD) >= 0;
		}
	closedir(d);
	TRUE(fds == good && fds >= 5);
	snprintf(name, sizeof name, "/proc/%d/fd/%d", getpid(), fd);
	n = readlink(name, link, sizeof link - 1), link[n > 0 ? n : 0] = 0;
	TRUE(strstr(link, "/comm") != NULL);
	pthread_t t;
	pthread_barrier_t b;
	pthread_barrier_init(&b, NULL, 2);
	pthread_create(&t, NULL, thread, &b);
	pthread_barrier_wait(&b);
	TRUE(field("\nThreads:") == 2);
	d = opendir("/proc/self/task");
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != getpid()) {
			snprintf(name, sizeof name, "/proc/self/task/%d/comm", atoi(e->d_name));
			printf("thread %s", slurp(name));
		}
	pthread_barrier_wait(&b);
	pthread_join(t, NULL);
	snprintf(name, sizeof name, "/proc/%d/status", getppid());
	TRUE(strstr(slurp(name), "Name:") != NULL);
	pid_t c = MUST(fork());
	if (c == 0) {
		pause();
		_exit(0);
	}
	snprintf(name, sizeof name, "/proc/%d/cmdline", c);
	TRUE(strcmp(slurp(name), argv[0]) == 0);
	snprintf(name, sizeof name, "/proc/%d/maps", c);
	TRUE(strstr(slurp(name), "proc_self") != NULL);
	kill(c, SIGKILL);
	reap("child", c);
	return 0;
}
