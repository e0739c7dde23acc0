// The demo's job: counts the primes below LIMIT in four child processes, reads
// its limit from a file, and writes what it found to another. Nothing in it knows
// of Homing.
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PARTS = 4 };

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
	FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL, *out = argc == 3 ? fopen(argv[2], "w") : NULL;
	long limit, total = 0, part;
	struct utsname host;
	int pipes[2];
	if (in == NULL || out == NULL || fscanf(in, "%ld", &limit) != 1 || pipe(pipes) != 0 || uname(&host) != 0) return 1;
	for (int i = 0; i < PARTS; i++) {
		if (fork() == 0) {
			part = count(limit * i / PARTS, limit * (i + 1) / PARTS);
			_exit(write(pipes[1], &part, sizeof part) != sizeof part);
		}
	}
	for (int i = 0, status; i < PARTS; i++) {
		if (wait(&status) < 0 || status != 0 || read(pipes[0], &part, sizeof part) != sizeof part) return 1;
		total += part;
	}
	fprintf(out, "%ld primes below %ld\n", total, limit);
	printf("%ld primes below %ld, counted by a process that believes to be on %s\n", total, limit, host.nodename);
	return fclose(out) != 0;
}
