// The demo's job: counts the primes below LIMIT in four child processes, chunk by
// chunk, and writes a line for each chunk in its turn. Nothing in it knows of
// Homing.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTS = 4, CHUNKS = 100 };

static long count(long from, long to)
{
	long n = 0;
	for (long p = from; p < to; p++) {
		int prime = p > 1;
		for (long d = 2; prime && d * d <= p; d++) prime = p % d != 0;
		n += prime;
	}
	return n;
}

int main(int argc, char **argv)
{
	long limit = argc == 2 ? atol(argv[1]) : 0, total = 0, n;
	int pipes[PARTS][2], status;
	for (int i = 0; i < PARTS; i++) {
		if (pipe(pipes[i]) != 0) return 1;
		if (fork() == 0) {
			for (long c = i; c < CHUNKS; c += PARTS) {
				n = count(limit / CHUNKS * c, limit / CHUNKS * (c + 1));
				if (write(pipes[i][1], &n, sizeof n) != sizeof n) _exit(1);
			}
			_exit(0);
		}
	}
	for (long c = 0; c < CHUNKS; c++) {
		if (read(pipes[c % PARTS][0], &n, sizeof n) != sizeof n) return 1;
		printf("%ld primes below %ld\n", total += n, limit / CHUNKS * (c + 1));
		if (fflush(stdout) != 0) return 1;
	}
	for (int i = 0; i < PARTS; i++) {
		if (wait(&status) < 0 || status != 0) return 1;
	}
	return 0;
}
