/* uname, host name, credentials, groups, umask, nice, affinity, scheduler: home's. */
#include "victim.h"
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
int main(void)
{
	struct utsname u;
	SHOW(uname(&u));
	printf("%s %s %s %s\n", u.sysname, u.nodename, u.release, u.machine);
	char host[100];
	SHOW(gethostname(host, sizeof host));
	TRUE(strcmp(host, u.nodename) == 0);
	uid_t r, e, s;
	SHOW(getresuid(&r, &e, &s));
	printf("%d %d %d %d\n", r, e, s, setfsuid(-1));
	SHOW(getresgid(&r, &e, &s));
	printf("%d %d %d\n", r, e, s);
	gid_t g[100];
	SHOW(getgroups(100, g));
	SHOW(getgroups(0, NULL));
	printf("%o\n", umask(0)), printf("%o\n", umask(077));
	SHOW(nice(2)), SHOW(getpriority(PRIO_PROCESS, 0)), SHOW(setpriority(PRIO_PROCESS, 0, 50)), SHOW(getpriority(PRIO_PROCESS, 0));
	cpu_set_t c;
	SHOW(sched_getaffinity(0, sizeof c, &c) == 0);
	SHOW(CPU_COUNT(&c));
	SHOW(get_nprocs());
	unsigned cpu, node;
	SHOW(getcpu(&cpu, &node));
	TRUE(cpu < (unsigned)get_nprocs_conf() && sched_getcpu() >= 0);
	SHOW(sched_getscheduler(0));
	struct sched_param p;
	SHOW(sched_getparam(0, &p));
	SHOW(sched_get_priority_max(SCHED_FIFO));
	SHOW(sched_yield());
	struct sysinfo si;
	SHOW(sysinfo(&si));
	TRUE(si.totalram > 1 << 20 && si.procs > 1);
	SHOW(setuid(getuid()));
	SHOW(setresuid(-1, geteuid(), -1));
	if (getuid()) {
		SHOW(setuid(0)), SHOW(setgroups(0, NULL)), SHOW(chroot("/")), SHOW(sethostname("x", 1)), SHOW(kill(1, 0));
	} else {
		SHOW(setgroups(2, (gid_t[]){5, 6})), SHOW(getgroups(100, g)), SHOW(setresgid(7, 8, 9)), SHOW(setresuid(1000, 1001, 1002));
		SHOW(getuid()), SHOW(geteuid()), SHOW(getegid()), SHOW(seteuid(1002)), SHOW(setuid(0));
		SHOW(open("/etc/shadow", O_RDONLY));
	}
	char b[16] = {0}, zero[16] = {0};
	SHOW(getrandom(b, 16, 0));
	TRUE(memcmp(b, zero, 16) != 0);
	SHOW(getrandom(b, 16, 99));
	return 0;
}
