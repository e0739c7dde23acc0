/* /proc/self describes the program itself: its mappings with their files, its memory, signals, threads; however it is opened. */
#include "victim.h"
#include <sys/sysmacros.h>
static char text[1 << 20];
static char *slurp(int fd)
{
	size_t n = 0;
	ssize_t m;
	while ((m = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += m;
	text[n] = 0;
	return text;
}
static char *cat(const char *name)
{
	int fd = MUST(open(name, O_RDONLY));
	slurp(fd);
	close(fd);
	return text;
}
static long field(const char *name, const char *key)
{
	char *p = strstr(cat(name), key);
	return p ? strtol(p + strlen(key), NULL, strstr(key, "Sig") ? 16 : 10) : -1;
}
/* where finds the mapping of an address and gives its name. */
static const char *where(const void *addr)
{
	static char name[PATH_MAX];
	char *save, *line;
	for (line = strtok_r(cat("/proc/self/maps"), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long a, b;
		int at = 0;
		sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &a, &b, &at);
		if ((unsigned long)addr >= a && (unsigned long)addr < b) {
			strcpy(name, at ? line + at : "");
			return name;
		}
	}
	return "not mapped";
}
static int odd_lines(void)
{
	char *save, *line, last[PATH_MAX] = "";
	int odd = 0;
	unsigned long end = 0;
	for (line = strtok_r(cat("/proc/self/maps"), "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long a, b, ino;
		unsigned maj, min;
		char name[PATH_MAX] = "", perm[8];
		struct stat st;
		if (sscanf(line, "%lx-%lx %4s %*x %x:%x %lu %[^\n]", &a, &b, perm, &maj, &min, &ino, name) < 6 || a < end || b <= a)
			odd++;
		end = b;
		if (name[0] == '/' && (stat(name, &st) != 0 || st.st_ino != ino || major(st.st_dev) != maj || minor(st.st_dev) != min))
			odd++;
		if (name[0] && strlen(line) > 73 && line + 73 != strstr(line, name))
			odd++;
		strcpy(last, name);
	}
	return odd + (strcmp(last, "[vsyscall]") != 0 && strcmp(last, "[stack]") != 0);
}
static void *waits(void *p)
{
	char name[64];
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", gettid());
	cat(name);
	TRUE(atoi(text) == gettid() && strstr(text, ") R ") != NULL);
	snprintf(name, sizeof name, "/proc/self/task/%d/status", gettid());
	TRUE(field(name, "\nPid:\t") == gettid() && field(name, "\nTgid:\t") == getpid());
	TRUE(field("/proc/thread-self/status", "\nPid:\t") == gettid());
	TRUE(field("/proc/self/status", "\nThreads:\t") == 2);
	return p;
}
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
int main(int argc, char **argv)
{
	char exe[PATH_MAX] = "";
	int local;
	(void)argc;
	MUST(readlink("/proc/self/exe", exe, sizeof exe - 1));
	TRUE(strcmp(where(main), exe) == 0);
	TRUE(strstr(where(printf), "libc") != NULL);
	TRUE(strcmp(where(malloc(100)), "[heap]") == 0);
	printf("stack: %s\n", where(&local));
	char *big = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("anonymous: \"%s\"\n", where(big));
	printf("unmapped: %s\n", where((void *)8));
	SHOW(odd_lines());
	/* memory grows where it does */
	long size = field("/proc/self/status", "\nVmSize:\t"), rss = field("/proc/self/status", "\nVmRSS:\t");
	memset(big, 1, 32 << 20);
	TRUE(size > 64 << 10 && size < 80 << 10);
	long more = field("/proc/self/status", "\nVmRSS:\t") - rss;
	TRUE(more >= 32 << 10 && more < 34 << 10);
	TRUE(field("/proc/self/status", "\nVmHWM:\t") >= field("/proc/self/status", "\nVmRSS:\t"));
	TRUE(field("/proc/self/status", "\nVmPeak:\t") >= size && field("/proc/self/status", "\nVmPeak:\t") < size + 4096);
	TRUE(labs(strtol(cat("/proc/self/statm"), NULL, 10) * 4 - size) < 64);
	munmap(big, 64 << 20);
	TRUE(field("/proc/self/status", "\nVmSize:\t") < size - (60 << 10));
	/* identity is home's */
	TRUE(field("/proc/self/status", "\nPid:\t") == getpid() && field("/proc/self/status", "\nPPid:\t") == getppid());
	TRUE(field("/proc/self/status", "\nUid:\t") == getuid() && field("/proc/self/status", "\nTracerPid:\t") == 0);
	TRUE(field("/proc/self/status", "\nSeccomp:\t") == 0 && field("/proc/self/status", "\nNoNewPrivs:\t") == 0);
	TRUE(strstr(cat("/proc/self/status"), "\nState:\tR (running)\n") != NULL);
	TRUE(strncmp(cat("/proc/self/status"), "Name:\tproc_self\n", 16) == 0);
	TRUE(strstr(cat("/proc/self/stat"), " (proc_self) R ") != NULL && atoi(text) == getpid());
	/* signals are the guest's */
	sigset_t old;
	block(SIGUSR2, &old);
	handle(SIGUSR1, hit, 0);
	raise(SIGUSR2);
	printf("blocked %lx caught %lx pending %lx\n", field("/proc/self/status", "\nSigBlk:\t"),
	       field("/proc/self/status", "\nSigCgt:\t"), field("/proc/self/status", "\nSigPnd:\t"));
	signal(SIGUSR2, SIG_IGN);
	printf("ignored %lx pending %lx\n", field("/proc/self/status", "\nSigIgn:\t") & 0x800, field("/proc/self/status", "\nSigPnd:\t"));
	/* ways to get there */
	int dir = MUST(open("/proc/self", O_RDONLY | O_DIRECTORY)), fd;
	SHOW(fd = openat(dir, "maps", O_RDONLY | O_CLOEXEC));
	TRUE(strstr(slurp(fd), exe) != NULL);
	SHOW(fcntl(fd, F_GETFD));
	SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
	SHOW(write(fd, "x", 1));
	SHOW(lseek(fd, 0, SEEK_SET));
	TRUE(strstr(slurp(fd), exe) != NULL);
	SHOW(open("/proc/self/stat", O_RDONLY));
	SHOW(fcntl(5, F_GETFD));
	close(5), close(fd);
	MUST(fchdir(dir));
	TRUE(strstr(cat("maps"), exe) != NULL);
	TRUE(strstr(cat("./task/../smaps"), exe) != NULL && strstr(text, "\nRss: ") != NULL && strstr(text, "\nVmFlags: ") != NULL);
	TRUE(strstr(cat("numa_maps"), "stack") != NULL);
	TRUE(strstr(cat("smaps_rollup"), "[rollup]") != NULL);
	TRUE(strtol(cat("schedstat"), NULL, 10) > 0);
	MUST(chdir("/"));
	SHOW(open("/proc/self/maps/x", O_RDONLY));
	SHOW(open("/proc/self/task/1/maps", O_RDONLY));
	FILE *f = fopen("/proc/self/maps", "re");
	int lines = 0;
	while (fgets(text, sizeof text, f))
		lines++;
	TRUE(lines > 10);
	fclose(f);
	/* a file like any other, that is only named so */
	char own[PATH_MAX];
	snprintf(own, sizeof own, "/tmp/proc_self.%d", getpid());
	MUST(mkdir(own, 0700));
	MUST(chdir(own));
	fd = MUST(open("maps", O_CREAT | O_RDWR, 0600));
	SHOW(write(fd, "mine", 4));
	close(fd);
	printf("%s\n", cat("maps"));
	unlink("maps"), chdir("/"), rmdir(own);
	/* another process */
	pid_t c = MUST(fork());
	if (c == 0) {
		pause();
		_exit(0);
	}
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/maps", c);
	TRUE(strstr(cat(name), exe) != NULL);
	snprintf(name, sizeof name, "/proc/%d/stat", c);
	for (int i = 0; i < 200 && !strstr(cat(name), ") S "); i++)
		wait_ms(5);
	TRUE(strstr(text, ") S ") != NULL && atoi(text) == c);
	kill(c, SIGKILL), waitpid(c, NULL, 0);
	SHOW(open(name, O_RDONLY));
	pthread_t th;
	pthread_create(&th, NULL, waits, NULL);
	pthread_join(th, NULL);
	/* the arguments are where the program has written over them */
	memset(argv[0], 'z', strlen(argv[0]));
	TRUE(strncmp(cat("/proc/self/cmdline"), "zzzz", 4) == 0);
	return 0;
}
