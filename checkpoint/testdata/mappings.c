// Makes mappings of all kinds, waits until it is told to go on, then checks that
// they still are what they were.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (16 * 4096UL)

static char *place = (char *)0x300000000000UL;

static char *map(int prot, int flags) {
	if (flags & MAP_GROWSDOWN) place += 4 << 20; // a stack keeps a distance of 1 MiB
	char *p = mmap(place, SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | flags, -1, 0);
	if (p != place) exit(10);
	place += 4 * SIZE;
	return p;
}

static void advise(int advice) {
	char *p = map(PROT_READ | PROT_WRITE, 0);
	memset(p, advice, SIZE / 2);
	if (madvise(p, SIZE, advice) != 0 && advice != MADV_MERGEABLE) exit(11);
}

// Not inlined: each call takes a page of stack.
__attribute__((noinline)) static int deep(int n) {
	volatile char page[4096];
	memset((char *)page, n, sizeof page);
	return n == 0 ? page[7] : deep(n - 1) + page[4095] - n;
}

static volatile char *fault;
static void on_fault(int sig, siginfo_t *si, void *c) {
	(void)c;
	_exit(sig == SIGSEGV && si->si_addr == fault ? 0 : 20);
}

static int faults(char *at) { // in a child
	int status, pid = fork();
	if (pid == 0) {
		struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
		sigaction(SIGSEGV, &sa, NULL);
		fault = at;
		*at = 1;
		_exit(21);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static int is(char *p, int c, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (p[i] != (char)c) return 0;
	return 1;
}

static int child_sees(char *p, int mapped, int c) {
	int status, fds[2];
	if (pipe(fds) != 0) exit(12);
	int pid = fork();
	if (pid == 0) {
		ssize_t n = write(fds[1], p, 1); // EFAULT if it is not there
		_exit(mapped ? !(n == 1 && *p == (char)c) : n == 1);
	}
	close(fds[0]);
	close(fds[1]);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv) {
	char *plain = map(PROT_READ | PROT_WRITE, 0);
	memset(plain, 'p', SIZE);
	char *none = map(PROT_NONE, 0);
	char *was = map(PROT_READ | PROT_WRITE, 0); // written, then made read-only, then unreadable
	memset(was, 'w', SIZE);
	mprotect(was, SIZE / 2, PROT_READ);
	mprotect(was + SIZE / 2, SIZE / 2, PROT_NONE);
	map(PROT_READ | PROT_WRITE, MAP_NORESERVE);
	char *grows = map(PROT_READ | PROT_WRITE, MAP_GROWSDOWN);
	memset(grows, 'g', SIZE);
	advise(MADV_HUGEPAGE);
	advise(MADV_NOHUGEPAGE);
	advise(MADV_DONTDUMP);
	advise(MADV_MERGEABLE);
	advise(MADV_SEQUENTIAL);
	advise(MADV_RANDOM);
	char *no_fork = place;
	advise(MADV_DONTFORK);
	char *wiped = place;
	advise(MADV_WIPEONFORK);
	char *locked = map(PROT_READ | PROT_WRITE, 0);
	if (mlock(locked, SIZE) != 0) return 13;
	if (mlock2(map(PROT_READ | PROT_WRITE, 0), SIZE, MLOCK_ONFAULT) != 0) return 14;
	char *keyed = map(PROT_READ | PROT_WRITE, 0);
	int key = pkey_alloc(0, 0);
	if (key > 0) {
		memset(keyed, 'k', SIZE);
		if (pkey_mprotect(keyed, SIZE, PROT_READ | PROT_WRITE, key) != 0) return 15;
		pkey_set(key, PKEY_DISABLE_WRITE);
	}
	char *run = map(PROT_EXEC, 0);
	// Two that agree in everything, but are two: each had pages of its own.
	char *two = map(PROT_READ | PROT_WRITE, 0);
	mprotect(two + SIZE / 2, SIZE / 2, PROT_READ);
	memset(two, '2', SIZE / 2);
	char *apart = place - 2 * SIZE;
	if (mmap(apart, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != apart) return 16;
	madvise(apart + SIZE / 2, SIZE / 2, MADV_DONTFORK);
	memset(apart, 'a', SIZE);
	madvise(apart + SIZE / 2, SIZE / 2, MADV_DOFORK);
	// A part of a file, changed privately in its middle.
	int fd = open(argv[0], O_RDONLY);
	char *file = mmap(place, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 4096);
	if (file != place) return 17;
	memset(file + 4096, 'f', 10);
	mprotect(file, 3 * 4096, PROT_READ);
	place += SIZE;
	char *brk = sbrk(3 * 4096);
	memset(brk, 'b', 3 * 4096);
	if (argc > 1 && mlockall(MCL_FUTURE | (argv[1][0] == 'f' ? 4 : 0)) != 0) return 18;

	printf("ready\n");
	fflush(stdout);
	char c, *end = sbrk(0);
	if (read(0, &c, 1) != 1) return 1;

	if (!is(plain, 'p', SIZE) || !is(was, 'w', SIZE / 2) || !is(grows, 'g', SIZE)) return 2;
	if (!faults(none) || !faults(was) || !faults(was + SIZE / 2) || !faults(run)) return 3;
	mprotect(was, SIZE, PROT_READ);
	if (!is(was, 'w', SIZE)) return 4;
	grows[-4096] = 'd'; // it grows
	if (!is(grows, 'g', SIZE) || deep(100) != 0) return 5;
	if (!child_sees(no_fork, 0, 0) || !child_sees(wiped, 1, 0) || !child_sees(plain, 1, 'p')) return 6;
	if (key > 0 && (!is(keyed, 'k', SIZE) || pkey_get(key) != PKEY_DISABLE_WRITE || pkey_free(key) != 0)) return 7;
	if (!is(apart, 'a', SIZE) || !is(two, '2', SIZE / 2)) return 8;
	char image[3 * 4096];
	if (pread(fd, image, sizeof image, 4096) != sizeof image) return 9;
	memset(image + 4096, 'f', 10);
	if (memcmp(image, file, sizeof image) != 0) return 30;
	if (!is(brk, 'b', 3 * 4096) || sbrk(0) != end || sbrk(4096) != end) return 31;
	return 0;
}
