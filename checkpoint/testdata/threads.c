// Four threads with names and alternate stacks, one of them on its own, wait.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static pthread_barrier_t ready;
static int go[2];

static void altstack(void) {
	stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
	if (sigaltstack(&ss, NULL) != 0) exit(1);
}

static void wait_on_it(int sig) {
	(void)sig;
	char c;
	pthread_barrier_wait(&ready);
	if (read(go[0], &c, 1) != 0) exit(2);
}

static void *run(void *name) {
	pthread_setname_np(pthread_self(), name);
	altstack();
	if (((char *)name)[0] == 'o') prctl(PR_SET_TIMERSLACK, 12345);
	if (((char *)name)[1] == 'w') {
		pthread_kill(pthread_self(), SIGUSR1); // runs on the alternate stack
	} else {
		wait_on_it(0);
	}
	return name;
}

int main(void) {
	pthread_t t[3];
	char *names[] = {"one", "two", "three"};
	struct sigaction sa = {.sa_handler = wait_on_it, .sa_flags = SA_ONSTACK | SA_RESTART};
	sigaction(SIGUSR1, &sa, NULL);
	altstack();
	pthread_barrier_init(&ready, NULL, 4);
	if (pipe(go) != 0) return 3;
	for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, run, names[i]);
	pthread_barrier_wait(&ready);
	printf("ready\n");
	fflush(stdout);
	char c;
	if (read(0, &c, 1) != 0) return 4;
	close(go[1]);
	for (int i = 0; i < 3; i++) {
		void *name;
		if (pthread_join(t[i], &name) != 0 || name != names[i]) return 5;
	}
	return 0;
}
