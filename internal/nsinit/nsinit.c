// Runs before the Go runtime (init_array), single threaded.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define CAP_CHECKPOINT_RESTORE_NR 40

uint64_t homing_sigignored, homing_sigmask;

static void record_signals(void)
{
	for (int sig = 1; sig <= 64; sig++) {
		struct sigaction sa;
		// 32 and 33 belong to libc, which hides them from sigaction.
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			homing_sigignored |= 1ULL << (sig - 1);
	}
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &homing_sigmask, 8);
}

static void fail(int status_fd, const char *what)
{
	char line[256];
	int n = snprintf(line, sizeof line, "%s: %s", what, strerror(errno));
	if (n > 0 && write(status_fd, line, (size_t)n) < 0) _exit(126);
	_exit(125);
}

// empty_root makes an empty, read-only tmpfs the root of this mount namespace.
static void empty_root(int status_fd)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) fail(status_fd, "make mounts private");
	if (mount("homing", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=555") != 0) fail(status_fd, "mount the empty root");
	if (chdir("/proc") != 0) fail(status_fd, "enter the empty root");
	if (syscall(SYS_pivot_root, ".", ".") != 0) fail(status_fd, "pivot_root");
	if (umount2(".", MNT_DETACH) != 0) fail(status_fd, "leave the old root");
	if (chdir("/") != 0) fail(status_fd, "chdir /");
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) fail(status_fd, "make the root read-only");
}

static void drop_capabilities(int status_fd)
{
	for (int cap = 0; cap < 64; cap++)
		if (cap != CAP_CHECKPOINT_RESTORE_NR && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) fail(status_fd, "drop a capability");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0, 0, 0}, {0, 0, 0}};
	d[1].effective = d[1].permitted = 1u << (CAP_CHECKPOINT_RESTORE_NR - 32);
	if (syscall(SYS_capset, &h, d) != 0) fail(status_fd, "limit capabilities");
}

// pod_init is the pod's pid 1. argv: homing-pod STATUS_FD STUB_HEX STUB_SIZE TABLE_SIZE.
// It prepares itself, says "ok" on the status pipe and sleeps; its tracer does
// the rest.
static void pod_init(int argc, char **argv)
{
	if (argc != 5) _exit(124);
	int status_fd = atoi(argv[1]);
	unsigned long stub = strtoul(argv[2], NULL, 16);
	unsigned long stub_size = strtoul(argv[3], NULL, 10), table_size = strtoul(argv[4], NULL, 10);

	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	// As execve(2) leaves them; signal(3) would set flags, which a program can see.
	struct { void (*handler)(int); unsigned long flags; void *restorer; unsigned long mask; } fresh = {SIG_DFL};
	for (int sig = 1; sig <= 64; sig++) syscall(SYS_rt_sigaction, sig, &fresh, NULL, 8);
	signal(SIGCHLD, SIG_IGN); // bodies are reaped by the kernel at once
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(status_fd, "PR_SET_PDEATHSIG");
	if (unshare(CLONE_NEWTIME) != 0) fail(status_fd, "new time namespace (CONFIG_TIME_NS)");
	empty_root(status_fd);
	struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	setsid();
	drop_capabilities(status_fd);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(status_fd, "PR_SET_NO_NEW_PRIVS");
	if (mmap((void *)stub, stub_size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)stub ||
	    mmap((void *)(stub + stub_size), table_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)(stub + stub_size))
		fail(status_fd, "map the stub");
	if (write(status_fd, "ok", 2) != 2) _exit(123);
	syscall(SYS_close_range, 0, ~0U, 0);
	for (;;) pause();
}

// detach leaves the caller's session and family: the first process ends at
// once, so that its parent, soon another program, has no child of ours.
static void detach(void)
{
	setsid();
	pid_t pid = fork();
	if (pid != 0) _exit(pid < 0 ? 1 : 0);
}

__attribute__((constructor)) static void homing_nsinit(int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "homing-supervisor") == 0) detach();
	if (argc > 0 && strcmp(argv[0], "homing-pod") == 0) pod_init(argc, argv);
	record_signals();
}
