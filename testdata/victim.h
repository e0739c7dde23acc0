/* Common to all victims: one file, one behaviour. What they print has to be the same in every run, natively and away:
 * relations, truths and error names, not numbers that the kernel chooses. */
#ifndef VICTIM_H
#define VICTIM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* One write a line: lines of several processes do not mix, and nothing is printed twice after a fork. */
static void __attribute__((constructor)) unbuffered(void) { setvbuf(stdout, NULL, _IONBF, 0); }

/* SHOW prints a call's result, with the error's name where it failed. */
#define SHOW(call)                                                                                  \
	({                                                                                              \
		errno = 0;                                                                                  \
		long show_ = (long)(call);                                                                  \
		int err_ = errno;                                                                           \
		if (show_ == -1 && err_)                                                                    \
			printf("%s = -1 %s\n", #call, strerrorname_np(err_));                                   \
		else                                                                                        \
			printf("%s = %ld\n", #call, show_);                                                     \
		errno = err_;                                                                               \
		show_;                                                                                      \
	})

/* DID prints only whether the call worked: for results that differ from run to run. */
#define DID(call)                                                                                   \
	({                                                                                              \
		errno = 0;                                                                                  \
		long did_ = (long)(call);                                                                   \
		int err_ = errno;                                                                           \
		if (did_ == -1)                                                                             \
			printf("%s = -1 %s\n", #call, strerrorname_np(err_));                                   \
		else                                                                                        \
			printf("%s: done\n", #call);                                                            \
		errno = err_;                                                                               \
		did_;                                                                                       \
	})

/* TRUE prints whether a relation holds. */
#define TRUE(relation) printf("%s: %s\n", #relation, (relation) ? "yes" : "no")

/* MUST ends the victim when the test itself cannot go on. */
#define MUST(call)                                                                                  \
	({                                                                                              \
		long must_ = (long)(call);                                                                  \
		if (must_ == -1) {                                                                          \
			printf("line %d: %s: %s\n", __LINE__, #call, strerrorname_np(errno));                   \
			_exit(99);                                                                              \
		}                                                                                           \
		must_;                                                                                      \
	})

static UNUSED double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static UNUSED void wait_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

/* spawn runs f in a child, which exits with its result. */
static UNUSED pid_t spawn(int (*f)(void *), void *arg)
{
	pid_t pid = MUST(fork());
	if (pid == 0)
		_exit(f(arg));
	return pid;
}

/* show_status prints how a child ended. */
static UNUSED void show_status(const char *who, int st)
{
	if (WIFEXITED(st))
		printf("%s: exit %d\n", who, WEXITSTATUS(st));
	else if (WIFSIGNALED(st))
		printf("%s: killed by SIG%s\n", who, sigabbrev_np(WTERMSIG(st)));
	else if (WIFSTOPPED(st))
		printf("%s: stopped by SIG%s\n", who, sigabbrev_np(WSTOPSIG(st)));
	else if (WIFCONTINUED(st))
		printf("%s: continued\n", who);
	else
		printf("%s: status %x\n", who, st);
}

static UNUSED void reap(const char *who, pid_t pid)
{
	int st;
	MUST(waitpid(pid, &st, 0));
	show_status(who, st);
}

/* handle installs a handler; flags as for sigaction(2). */
static UNUSED void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
	MUST(sigaction(sig, &sa, NULL));
}

/* later sends a signal to the calling process from a child, which is not waited for, after ms. */
static UNUSED pid_t later(int sig, int ms)
{
	pid_t me = getpid(), pid = MUST(fork());
	if (pid == 0) {
		wait_ms(ms);
		kill(me, sig);
		_exit(0);
	}
	return pid;
}

static UNUSED void block(int sig, sigset_t *old)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, sig);
	MUST(sigprocmask(SIG_BLOCK, &s, old));
}

/* burn uses the processor for about ms of its time. */
static UNUSED void burn(int ms)
{
	struct timespec a, b;
	volatile unsigned long x = 1;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	do {
		for (int i = 0; i < 10000; i++)
			x = x * 6364136223846793005UL + 1;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	} while ((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < ms);
}

/* For what is looked at again and again while the program may be moved: silent as long as it holds. */
static int victim_faults;
#define EXPECT(relation)                                                                            \
	({                                                                                              \
		if (!(relation) && __sync_fetch_and_add(&victim_faults, 1) < 5)                             \
			printf("line %d: does not hold: %s\n", __LINE__, #relation);                            \
	})

/* SAME says, besides, what the two numbers were. */
#define SAME(got, want)                                                                             \
	({                                                                                              \
		long got_ = (long)(got), want_ = (long)(want);                                              \
		if (got_ != want_ && __sync_fetch_and_add(&victim_faults, 1) < 5)                           \
			printf("line %d: %s is %ld (%#lx), not %ld (%#lx)\n", __LINE__, #got, got_, got_, want_, want_); \
	})

/* GAVE expects a call's result and, where it is -1, its error. */
#define GAVE(call, want, err)                                                                       \
	({                                                                                              \
		errno = 0;                                                                                  \
		long gave_ = (long)(call);                                                                  \
		int errno_ = errno;                                                                         \
		if ((gave_ != (want) || (gave_ == -1 && errno_ != (err))) && __sync_fetch_and_add(&victim_faults, 1) < 5) \
			printf("line %d: %s = %ld %s\n", __LINE__, #call, gave_, gave_ == -1 ? strerrorname_np(errno_) : ""); \
	})

/* held is the exit status of a program that only looks. */
static UNUSED int held(const char *what)
{
	if (victim_faults == 0)
		printf("%s: held\n", what);
	return victim_faults != 0;
}

/* going is true until the time for looking is over: $VICTIM_MS, else short. It ends by the wall clock, which nothing here judges. */
static double victim_end;
static double wall(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}
static void __attribute__((constructor)) victim_begin(void)
{
	const char *ms = getenv("VICTIM_MS");
	victim_end = wall() + (ms ? atoi(ms) : 150) / 1e3;
}
static UNUSED int going(void) { return wall() < victim_end; }

/* SLACK is how late, in seconds, something may be on a busy machine, moves included. Nothing may ever be early. */
#define SLACK 10.0

/* TIMED expects a call's result, and that it took at least so many seconds: not less for being moved, and not again and again. */
#define TIMED(seconds, call, want, err)                                                             \
	({                                                                                              \
		double began_ = now();                                                                      \
		GAVE(call, want, err);                                                                      \
		double took_ = now() - began_;                                                              \
		if ((took_ < (seconds) - 1e-4 || took_ > (seconds) + SLACK) && __sync_fetch_and_add(&victim_faults, 1) < 5) \
			printf("line %d: %s took %.6f s\n", __LINE__, #call, took_);                            \
	})

/* threads runs f in n threads at once, with its number as the argument, and expects each to return 0. */
static UNUSED void threads(int n, void *(*f)(void *))
{
	pthread_t t[64];
	void *r;
	for (long i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, f, (void *)i))
			MUST(-1);
	for (int i = 0; i < n; i++) {
		pthread_join(t[i], &r);
		SAME((long)r, 0);
	}
}
#endif
