/* Waiting for children and for signals: wait4, waitid, sigtimedwait, sigsuspend, each ended by what it waits for, or by its time.
 * oracle: still the time limit of sigtimedwait begins anew with each move, and it would never end */
#include "victim.h"
static void hit(int s, siginfo_t *i, void *c) { (void)s, (void)i, (void)c; }
static int lives(void *ms)
{
	wait_ms((int)(long)ms);
	burn(1);
	return 33;
}
static int stops(void *p)
{
	(void)p;
	wait_ms(30);
	raise(SIGSTOP);
	return 34;
}
static pid_t me;
static int signals(void *p)
{
	pid_t tid = (pid_t)(long)p;
	wait_ms(40);
	return syscall(SYS_tgkill, me, tid, SIGUSR2);
}
static void *thread(void *p)
{
	long k = (long)p;
	sigset_t s, none;
	siginfo_t i;
	sigemptyset(&none), sigemptyset(&s), sigaddset(&s, SIGRTMIN + k);
	do {
		int st = 0;
		struct rusage r;
		struct timespec t = {0, 150000000};
		pid_t pid;
		switch (k) {
		case 0:
			pid = spawn(lives, (void *)50);
			TIMED(0.04, wait4(pid, &st, 0, &r), pid, 0);
			SAME(st, 33 << 8);
			break;
		case 1:
			pid = spawn(lives, (void *)30);
			memset(&i, 0, sizeof i);
			GAVE(waitid(P_PID, pid, &i, WEXITED), 0, 0);
			SAME(i.si_pid, pid), SAME(i.si_status, 33), SAME(i.si_code, CLD_EXITED);
			break;
		case 2:
			pid = spawn(stops, NULL);
			GAVE(waitpid(pid, &st, WUNTRACED), pid, 0);
			EXPECT(WIFSTOPPED(st));
			kill(pid, SIGCONT);
			GAVE(waitpid(pid, &st, 0), pid, 0);
			SAME(st, 34 << 8);
			break;
		case 3: TIMED(0.15, sigtimedwait(&s, &i, &t), -1, EAGAIN); break;
		case 4:
			pid = spawn(signals, (void *)(long)gettid());
			sigaddset(&s, SIGUSR2);
			t.tv_sec = 60;
			GAVE(sigtimedwait(&s, &i, &t), SIGUSR2, 0);
			SAME(i.si_pid, pid), SAME(i.si_code, SI_USER);
			GAVE(waitpid(pid, &st, 0), pid, 0);
			break;
		case 5: case 6:
			pid = spawn(signals, (void *)(long)gettid());
			if (k == 5)
				GAVE(sigsuspend(&none), -1, EINTR);
			else
				GAVE(ppoll(NULL, 0, NULL, &none), -1, EINTR);
			GAVE(waitpid(pid, &st, 0), pid, 0);
			SAME(st, 0);
		}
	} while (going());
	return NULL;
}
int main(void)
{
	sigset_t s;
	me = getpid();
	sigfillset(&s);
	sigprocmask(SIG_BLOCK, &s, NULL);
	handle(SIGUSR2, hit, 0);
	threads(7, thread);
	return held("waits");
}
