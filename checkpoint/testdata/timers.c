// Has timers on several clocks; says what they have left when it is told to.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static timer_t make(clockid_t clock, int notify) {
	struct sigevent ev = {.sigev_notify = notify, .sigev_signo = SIGUSR1};
	ev._sigev_un._tid = getpid();
	timer_t t;
	struct itimerspec its = {.it_value = {1000, 0}, .it_interval = {7, 0}};
	if (timer_create(clock, &ev, &t) != 0 || timer_settime(t, 0, &its, NULL) != 0) perror("timer");
	return t;
}

static void say(long id) {
	struct itimerspec its;
	if (syscall(SYS_timer_gettime, id, &its) != 0) printf(" %ld:none", id);
	else printf(" %ld:%s/%ld", id, its.it_value.tv_sec > 900 ? "set" : "off", its.it_interval.tv_sec);
}

int main(void) {
	timer_t all[4] = {make(CLOCK_MONOTONIC, SIGEV_SIGNAL), make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL),
		make(CLOCK_THREAD_CPUTIME_ID, SIGEV_THREAD_ID), make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_NONE)};
	struct itimerval v = {.it_value = {500, 0}};
	setitimer(ITIMER_PROF, &v, NULL);
	int c;
	do {
		for (int i = 0; i < 4; i++) say((long)all[i]);
		say(1 << 24);
		getitimer(ITIMER_PROF, &v);
		printf(" prof:%s\n", v.it_value.tv_sec > 400 ? "set" : "off");
		fflush(stdout);
		c = getchar();
		if (c == 'n') {
			make(CLOCK_MONOTONIC, SIGEV_SIGNAL); // its number is glibc's; the kernel's:
			FILE *f = fopen("/proc/self/timers", "r");
			int id, last = -1;
			char line[99];
			while (fgets(line, sizeof line, f))
				if (sscanf(line, "ID: %d", &id) == 1) last = id > last && id < 1 << 24 ? id : last;
			printf("new %d\n", last);
			fclose(f);
		}
	} while (c != EOF);
	return 0;
}
