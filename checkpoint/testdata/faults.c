// Faults all the time, in two threads, and counts that each fault is seen once.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int stop;
static __thread volatile char *page;
static __thread volatile long seen;

static void fault(int sig, siginfo_t *si, void *c) {
	(void)c;
	if (sig != SIGSEGV || si->si_addr != page || si->si_code != SEGV_ACCERR) _exit(10);
	seen++;
	mprotect((void *)page, 4096, PROT_READ | PROT_WRITE);
}

static void *run(void *arg) {
	page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long i = 1; !stop; i++) {
		*page = 1;
		if (seen != i) _exit(11);
		mprotect((void *)page, 4096, PROT_NONE);
	}
	return arg;
}

int main(void) {
	struct sigaction sa = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &sa, NULL);
	pthread_t t[2];
	for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, run, NULL);
	puts("ready");
	fflush(stdout);
	char c;
	int r = read(0, &c, 1) == 0 ? 0 : 1;
	stop = 1;
	for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
	return r;
}
