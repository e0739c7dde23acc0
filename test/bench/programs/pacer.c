// A program that knows how long it stood still: it stamps CLOCK_REALTIME, 1000
// times a second or as often as it can, and keeps the longest time between two
// stamps. (The realtime clock, as a time namespace can hide a gap of the others.)
// Meanwhile it writes to its memory, or works on it and counts what it did.
//
//	pacer MIB DIRTIED HOW PAGES
//
// MIB of memory that does not compress; DIRTIED MiB of it a second, page after
// page; HOW: sleep (a stamp each millisecond, sleeping in between), spin (without
// sleeping) or work (without sleeping, at random addresses); PAGES: small or huge.
//
// It says its number when it is ready. To each SIGUSR1 it answers with a line
// about the time since the last one, and begins anew:
//
//	longest gap (ns), stamps, time (ns), µs until it worked as fast again (-1: not yet)
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MS 1000000

static volatile sig_atomic_t asked;

static void ask(int sig)
{
	(void)sig;
	asked = 1;
}

static void die(const char *what)
{
	dprintf(1, "error: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t seed = 88172645463325252u;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

// Work done in each 10 ms since the last question.
#define BUCKET (10 * MS)
#define WINDOW 10  // buckets that are looked at together
#define BUCKETS 6000
static uint32_t done[BUCKETS];

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

// The usual amount in a bucket.
static double usual(long n)
{
	static uint32_t sorted[BUCKETS];
	if (n < 1) return 0;
	memcpy(sorted, done, (size_t)n * sizeof *sorted);
	qsort(sorted, (size_t)n, sizeof *sorted, ascending);
	return sorted[n / 2];
}

// When the first window after the gap began in which it did 90 % of its usual work: µs.
static long recovered(long from, long n, double before)
{
	for (long i = from; i + WINDOW <= n; i++) {
		double sum = 0;
		for (long j = i; j < i + WINDOW; j++) sum += done[j];
		if (sum >= 0.9 * before * WINDOW) return i * (BUCKET / 1000);
	}
	return -1;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		errno = EINVAL;
		die("arguments");
	}
	size_t size = (size_t)atol(argv[1]) << 20;
	double dirtied = atof(argv[2]) * (1 << 20) / PAGE / 1e9; // pages a nanosecond
	int sleeps = !strcmp(argv[3], "sleep"), works = !strcmp(argv[3], "work"), huge = !strcmp(argv[4], "huge");
	const size_t big = 2 << 20;
	char *m = mmap(NULL, size + big, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED) die("mmap");
	m = (char *)(((uintptr_t)m + big - 1) & ~(uintptr_t)(big - 1));
	if (madvise(m, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0) die("madvise");
	uint64_t *words = (uint64_t *)m;
	for (size_t i = 0; i < size / 8; i++) words[i] = next();
	struct sigaction sa = {.sa_handler = ask};
	if (sigaction(SIGUSR1, &sa, NULL) != 0) die("sigaction");
	dprintf(1, "%d\n", (int)getpid());

	const size_t pages = size / PAGE;
	size_t page = 0;
	double owed = 0, before = 0;
	int64_t begin = now(), last = begin, due = begin, longest = 0, gap_end = 0;
	long stamps = 0;
	for (;;) {
		int64_t at = now(), gap = at - last;
		if (gap > longest) {
			longest = gap;
			gap_end = at;
		}
		stamps++;
		// What it could not write while it stood still it does not make up for.
		owed += dirtied * (double)(gap < 5 * MS ? gap : 5 * MS);
		last = at;
		for (; owed >= 1; owed--) {
			words[page * (PAGE / 8)]++;
			page = page + 1 < pages ? page + 1 : 0;
		}
		if (works) {
			for (int i = 0; i < 64; i++) words[next() % (size / 8)] += seed;
			long b = (at - begin) / BUCKET;
			if (b < BUCKETS) done[b]++;
		}
		if (asked) {
			asked = 0;
			long n = (at - begin) / BUCKET, again = -1;
			if (n > BUCKETS) n = BUCKETS;
			if (works) {
				again = recovered((gap_end - begin) / BUCKET, n, before);
				before = usual(n);
				memset(done, 0, sizeof done);
			}
			dprintf(1, "%lld %ld %lld %ld\n", (long long)longest, stamps, (long long)(at - begin), again);
			begin = last = due = now();
			longest = gap_end = stamps = 0;
		}
		if (sleeps) {
			due += MS;
			int64_t left = due - now();
			if (left > 0) {
				struct timespec t = {.tv_nsec = left < MS ? left : MS};
				nanosleep(&t, NULL);
			} else {
				due -= left;
			}
		}
	}
}
