// Checks itself while it is moved, or while that fails: threads that compute and
// sleep, a pipe between two of them, a timer, signals that arrive and signals that
// wait, memory with a pattern; with "group" a child that shares memory with it.
// Each line of numbers on standard input is answered; "end" ends it.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int over, bad;
static volatile unsigned long computed, slept, passed, alarms, counted;
static volatile int expected;
static int tube[2];
static volatile unsigned long *shared;
static unsigned *memory;
static size_t words;

static void wrong(const char *what)
{
	char line[200];
	int n = snprintf(line, sizeof line, "wrong: %s, errno %d\n", what, errno);
	if (write(1, line, n) != n)
		_exit(9);
	bad++;
}

static void *compute(void *arg)
{
	unsigned long x = 1, y = 1 ^ 0x5555, n = 0;
	while (!over) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		y = (y ^ 0x5555) * 6364136223846793005UL + 1442695040888963407UL;
		y ^= 0x5555;
		if ((x ^ 0x5555) != y) {
			wrong("computation");
			break;
		}
		if (++n % 100000 == 0)
			computed++;
	}
	return arg;
}

static void *rest(void *arg)
{
	while (!over) {
		struct timespec t = {0, 2000000};
		int e = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, 0);
		if (e) {
			errno = e;
			wrong("sleep");
		}
		slept++;
	}
	return arg;
}

static void *produce(void *arg)
{
	for (unsigned i = 0; !over; i++) {
		if (write(tube[1], &i, sizeof i) != sizeof i)
			wrong("write");
		usleep(500);
	}
	close(tube[1]);
	return arg;
}

static void *consume(void *arg)
{
	unsigned got;
	for (unsigned i = 0;; i++) {
		ssize_t n = read(tube[0], &got, sizeof got);
		if (n == 0)
			return arg;
		if (n != sizeof got || got != i) {
			char what[80];
			snprintf(what, sizeof what, "pipe: %zd bytes, %u for %u", n, got, i);
			wrong(what);
			return arg;
		}
		passed++;
	}
}

static void on_alarm(int sig) { alarms += sig == SIGALRM; }

static void on_number(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (info->si_value.sival_int != expected)
		wrong("number of a signal");
	expected++;
}

static unsigned pattern(size_t i, unsigned round) { return (unsigned)i * 2654435761u + round; }

static void check(unsigned round)
{
	for (size_t i = 0; i < words; i++)
		if (memory[i] != pattern(i, round)) {
			wrong("memory");
			return;
		}
}

int main(int argc, char **argv)
{
	size_t mib = argc > 1 ? atoi(argv[1]) : 1;
	int group = argc > 2 && !strcmp(argv[2], "group");
	pid_t child = 0;
	if (group) {
		shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		child = fork();
		if (child == 0) {
			while (!shared[1]) {
				shared[0]++;
				usleep(500);
			}
			_exit(7);
		}
	}
	words = mib << 18;
	memory = mmap(0, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < words; i++)
		memory[i] = pattern(i, 0);
	sigset_t waiting;
	sigemptyset(&waiting);
	sigaddset(&waiting, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &waiting, 0);
	struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, n = {.sa_sigaction = on_number, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGALRM, &a, 0);
	sigaction(SIGRTMIN, &n, 0);
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); // signals are the first thread's
	pthread_t t[4];
	void *(*f[4])(void *) = {compute, rest, produce, consume};
	if (pipe(tube))
		wrong("pipe");
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], 0, f[i], 0))
			wrong("thread");
	pthread_sigmask(SIG_SETMASK, &old, 0);
	struct itimerval it = {{0, 20000}, {0, 20000}};
	setitimer(ITIMER_REAL, &it, 0);
	if (write(1, "ready\n", 6) != 6)
		return 9;
	char line[64];
	unsigned round = 0;
	for (;;) {
		size_t have = 0;
		while (have == 0 || line[have - 1] != '\n') {
			ssize_t k = read(0, line + have, 1);
			if (k != 1) {
				wrong("input");
				return 8;
			}
			have++;
		}
		line[have - 1] = 0;
		if (!strcmp(line, "end"))
			break;
		if ((unsigned)atoi(line) != round)
			wrong("number of a line");
		check(round);
		round++;
		for (size_t i = 0; i < words; i++)
			memory[i] = pattern(i, round);
		int k = snprintf(line, sizeof line, "%u %s\n", round - 1, bad ? "bad" : "ok");
		if (write(1, line, k) != k)
			return 9;
	}
	check(round);
	while (alarms == 0)
		usleep(1000);
	it = (struct itimerval){0};
	setitimer(ITIMER_REAL, &it, 0);
	unsigned long c = computed, s = slept, p = passed;
	for (int i = 0; i < 2000 && (computed == c || slept == s || passed == p); i++)
		usleep(5000);
	if (computed == c || slept == s || passed == p)
		wrong("a thread stands still");
	over = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	int left = 0;
	siginfo_t info;
	struct timespec now = {0, 0};
	while (sigtimedwait(&waiting, &info, &now) > 0) {
		if (info.si_value.sival_int != left)
			wrong("number of a signal that waits");
		left++;
	}
	int status = 0;
	if (group) {
		unsigned long seen = shared[0];
		for (int i = 0; i < 2000 && shared[0] == seen; i++)
			usleep(5000);
		if (shared[0] == seen)
			wrong("the child stands still");
		shared[1] = 1;
		waitpid(child, &status, 0);
	}
	printf("lines %u, signals %d, waiting %d, child %d, bad %d\n", round, expected, left, WEXITSTATUS(status), bad);
	return bad != 0;
}
