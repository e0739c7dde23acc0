// A process whose memory tests move: it does to its memory what it is told on
// standard input, one command a line, and answers each by a line.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t sum(volatile uint64_t *p, size_t bytes) {
	uint64_t h = 1469598103934665603u;
	for (size_t i = 0; i < bytes / 8; i++) h = (h ^ p[i]) * 1099511628211u;
	return h;
}

static void fill(uint64_t *p, size_t bytes, uint64_t seed) {
	for (size_t i = 0; i < bytes / 8; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		p[i] = seed >> 8;
	}
}

static uint64_t *area;
static size_t area_words;

// Writes everywhere, as fast as it can.
static void *scribble(void *x) {
	uint64_t n = 88172645463325252u;
	for (volatile int on = 1; on;) {
		n ^= n << 13, n ^= n >> 7, n ^= n << 17;
		area[n % area_words] = n;
	}
	return x;
}

// Writes to each page in turn, so many bytes of pages a second.
static void *dirty(void *rate) {
	for (size_t i = 0;; i++) {
		area[i * 512 % area_words] = i;
		if (i % 64 == 63) usleep(64 * 4096 * 1000000ul / (size_t)rate);
	}
}

int main(void) {
	char cmd[32], path[256];
	unsigned long a, b, c;
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_PDEATHSIG, 9);
	while (scanf("%31s %lx %lx %lx", cmd, &a, &b, &c) == 4) {
		void *p = (void *)a;
		if (!strcmp(cmd, "map")) { // c: protection
			void *r = mmap(p, b, (int)c, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
			printf("%d\n", r == p);
		} else if (!strcmp(cmd, "mapfile")) { // a path follows
			if (scanf("%255s", path) != 1) return 1;
			int fd = open(path, O_RDONLY);
			void *r = mmap(p, b, (int)c, MAP_PRIVATE | MAP_FIXED, fd, 0);
			close(fd);
			printf("%d\n", r == p);
		} else if (!strcmp(cmd, "fill")) {
			fill(p, b, c);
			printf("1\n");
		} else if (!strcmp(cmd, "zero")) {
			memset(p, 0, b);
			printf("1\n");
		} else if (!strcmp(cmd, "protect")) {
			printf("%d\n", mprotect(p, b, (int)c) == 0);
		} else if (!strcmp(cmd, "advise")) {
			printf("%d\n", madvise(p, b, (int)c) == 0);
		} else if (!strcmp(cmd, "unmap")) {
			printf("%d\n", munmap(p, b) == 0);
		} else if (!strcmp(cmd, "move")) { // to c
			printf("%d\n", mremap(p, b, b, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)c) == (void *)c);
		} else if (!strcmp(cmd, "sum")) {
			printf("%lx\n", (unsigned long)sum(p, b));
		} else if (!strcmp(cmd, "peek")) {
			printf("%lx\n", *(unsigned long *)p);
		} else if (!strcmp(cmd, "uffd")) { // c: flags; b: through the device
			int fd = b ? open("/dev/userfaultfd", O_RDWR | O_CLOEXEC) : -1;
			printf("%d\n", b ? ioctl(fd, 0xaa00, c) : (int)syscall(SYS_userfaultfd, c));
		} else if (!strcmp(cmd, "close")) {
			printf("%d\n", close((int)a) == 0);
		} else if (!strcmp(cmd, "kernel")) { // the kernel reads it
			int fds[2];
			if (b > 4096 || pipe(fds) != 0) return 1;
			printf("%d\n", (int)write(fds[1], p, b));
			close(fds[0]), close(fds[1]);
		} else if (!strcmp(cmd, "fork")) { // what the child sees after the parent has changed it
			int to[2], from[2];
			if (pipe(to) != 0 || pipe(from) != 0) return 1;
			pid_t pid = fork();
			if (pid == 0) {
				char x;
				if (read(to[0], &x, 1) != 1) _exit(1);
				uint64_t h = sum(p, b);
				_exit(write(from[1], &h, 8) != 8);
			}
			fill(p, 4096, c);
			uint64_t h = 0;
			if (write(to[1], "x", 1) != 1 || read(from[0], &h, 8) != 8) return 1;
			waitpid(pid, NULL, 0);
			close(to[0]), close(to[1]), close(from[0]), close(from[1]);
			printf("%lx\n", (unsigned long)h);
		} else if (!strcmp(cmd, "dirty")) {
			pthread_t t;
			area = p, area_words = b / 8;
			printf("%d\n", pthread_create(&t, NULL, dirty, (void *)c) == 0);
		} else if (!strcmp(cmd, "scribble")) {
			pthread_t t;
			area = p, area_words = b / 8;
			printf("%d\n", pthread_create(&t, NULL, scribble, NULL) == 0);
		} else {
			return 1;
		}
	}
	return 0;
}
