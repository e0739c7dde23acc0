// What the benchmark times inside a process: it reads commands, one a line, and
// answers each with the nanoseconds that it took by this process's own clock.
// The same executable runs natively, at home and away, so all three measure in
// the same way and can be asked in turn.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	dprintf(1, "error: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static volatile uint64_t sink;

// Integer arithmetic in registers.
static void cpu(long n)
{
	uint64_t x = 88172645463325252u, sum = 0;
	for (long i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x * 0x9e3779b97f4a7c15u;
	}
	sink = sum;
}

// Reads and writes all over 64 MiB: caches and page tables decide. The memory is
// new each time, so that no run is tied to the luck of its pages. Returns when
// the timed part began.
static uint64_t *arena; // of the last round

static uint64_t memory(long n)
{
	const uint64_t words = 64 << 20 >> 3;
	if (arena) munmap(arena, words * 8);
	uint64_t *m = arena = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED) die("mmap");
	for (uint64_t i = 0; i < words; i++) m[i] = i;
	uint64_t start = now(), x = 88172645463325252u;
	for (long i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		m[x % words] += x;
	}
	return start;
}

static void map(long n, size_t size)
{
	for (long i = 0; i < n; i++) {
		char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) die("mmap");
		for (size_t at = 0; at < size; at += 4096) p[at] = 1;
		if (munmap(p, size) != 0) die("munmap");
	}
}

static void read_file(const char *path, size_t piece, long long want)
{
	static char *buf;
	static size_t room;
	if (room < piece) {
		buf = realloc(buf, piece);
		if (!buf) die("malloc");
		memset(buf, 1, piece);
		room = piece;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) die(path);
	long long got = 0;
	for (;;) {
		ssize_t n = read(fd, buf, piece);
		if (n < 0) die("read");
		if (n == 0) break;
		got += n;
	}
	close(fd);
	if (got != want) {
		errno = EIO;
		die("file has another size");
	}
}

static void pin(const cpu_set_t *allowed, int which)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && which-- == 0) CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0) die("sched_setaffinity");
}

// Two processes wake each other over pipes, on different processors if there are
// two: what a round trip costs here.
static void ping_pong(long n)
{
	int a[2], b[2];
	char c = 0;
	cpu_set_t allowed;
	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) die("sched_getaffinity");
	int two = CPU_COUNT(&allowed) > 1;
	if (pipe(a) != 0 || pipe(b) != 0) die("pipe");
	pid_t child = fork();
	if (child < 0) die("fork");
	if (two) pin(&allowed, child == 0 ? 1 : 0);
	if (child == 0) {
		close(a[1]);
		close(b[0]);
		while (read(a[0], &c, 1) == 1 && write(b[1], &c, 1) == 1) {}
		_exit(0);
	}
	close(a[0]);
	close(b[1]);
	for (long i = 0; i < n; i++)
		if (write(a[1], &c, 1) != 1 || read(b[0], &c, 1) != 1) die("ping-pong");
	close(a[1]);
	close(b[0]);
	waitpid(child, NULL, 0);
	if (sched_setaffinity(0, sizeof allowed, &allowed) != 0) die("sched_setaffinity");
}

int main(void)
{
	char line[8192], what[32], path[4096];
	for (;;) {
		ssize_t len = read(0, line, sizeof line - 1);
		if (len <= 0) return 0;
		line[len] = 0;
		long n = 0;
		long long size = 0;
		path[0] = 0;
		if (sscanf(line, "%31s %ld %lld %4095[^\n]", what, &n, &size, path) < 2) {
			errno = EINVAL;
			die(line);
		}
		if (!strcmp(what, "pid")) {
			dprintf(1, "%d\n", (int)getpid());
			continue;
		}
		uint64_t start = now();
		if (!strcmp(what, "getppid"))
			for (long i = 0; i < n; i++) syscall(SYS_getppid);
		else if (!strcmp(what, "getpid"))
			for (long i = 0; i < n; i++) syscall(SYS_getpid);
		else if (!strcmp(what, "mmap"))
			map(n, (size_t)size);
		else if (!strcmp(what, "cpu"))
			cpu(n);
		else if (!strcmp(what, "memory"))
			start = memory(n);
		else if (!strcmp(what, "read"))
			read_file(path, (size_t)n, size);
		else if (!strcmp(what, "ping-pong"))
			ping_pong(n);
		else {
			errno = EINVAL;
			die(what);
		}
		dprintf(1, "%llu\n", (unsigned long long)(now() - start));
	}
}
