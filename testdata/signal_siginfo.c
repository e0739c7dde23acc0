/* What siginfo says: kill, tgkill, sigqueue with a value, sender's pid and uid, timers, SIGCHLD's codes, faults. */
#include "victim.h"
static volatile siginfo_t last;
static volatile int hits;
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)c; *(siginfo_t *)&last = *i; hits++; }
static void awaits(void)
{
	for (int i = 0; i < 2000 && !hits; i++)
		wait_ms(1);
	if (!hits)
		printf("no signal came\n");
}
static pid_t me;
static int kills(void *p) { (void)p; return kill(me, SIGUSR1); }
static int queues(void *p) { (void)p; return sigqueue(me, SIGUSR2, (union sigval){.sival_int = 4711}); }
static int queues_ptr(void *p) { return sigqueue(me, SIGRTMIN + 3, (union sigval){.sival_ptr = p}); }
static int tgkills(void *p) { (void)p; return syscall(SYS_tgkill, me, me, SIGUSR1); }
static void show(const char *what, pid_t from)
{
	awaits();
	printf("%s: signo %s code %d errno %d uid %d from child %d value %d\n", what, sigabbrev_np(last.si_signo) ?: "RT", last.si_code, last.si_errno,
	       last.si_uid == getuid(), last.si_pid == from, last.si_code == SI_QUEUE ? last.si_value.sival_int : 0);
	hits = 0;
}
int main(void)
{
	me = getpid();
	handle(SIGUSR1, hit, 0), handle(SIGUSR2, hit, 0), handle(SIGRTMIN + 3, hit, 0), handle(SIGALRM, hit, 0), handle(SIGCONT, hit, 0);
	pid_t p = spawn(kills, NULL);
	waitpid(p, NULL, 0), show("kill", p);
	p = spawn(queues, NULL);
	waitpid(p, NULL, 0), show("sigqueue", p);
	p = spawn(queues_ptr, (void *)0x123456789a);
	waitpid(p, NULL, 0);
	awaits();
	TRUE(last.si_value.sival_ptr == (void *)0x123456789a);
	show("sigqueue pointer", p);
	p = spawn(tgkills, NULL);
	waitpid(p, NULL, 0), show("tgkill", p);
	raise(SIGUSR1), show("raise", me);
	kill(me, SIGUSR1), show("kill self", me);
	sigqueue(me, SIGUSR2, (union sigval){.sival_int = -5}), show("queue self", me);
	siginfo_t own = {.si_signo = SIGUSR2, .si_code = -77};
	own.si_pid = me, own.si_uid = getuid();
	SHOW(syscall(SYS_rt_sigqueueinfo, me, SIGUSR2, &own)), show("rt_sigqueueinfo", me);
	SHOW(syscall(SYS_rt_tgsigqueueinfo, me, me, SIGUSR2, &own)), show("rt_tgsigqueueinfo", me);
	alarm(1);
	awaits();
	printf("alarm: %d code %d\n", last.si_signo == SIGALRM, last.si_code);
	hits = 0;
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = 99};
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &t));
	MUST(timer_settime(t, 0, &(struct itimerspec){{0, 0}, {0, 5000000}}, NULL));
	awaits();
	printf("timer: %d code %d value %d overrun %d\n", last.si_signo == SIGRTMIN + 3, last.si_code, last.si_value.sival_int, last.si_overrun);
	hits = 0;
	SHOW(kill(me, 0));
	SHOW(kill(me, 65));
	SHOW(kill(999999999, 0));
	SHOW(syscall(SYS_tgkill, me, 999999999, 0));
	SHOW(syscall(SYS_tkill, -1, SIGUSR1));
	return 0;
}
