package doctor

// fresh tells how to get a kernel that is new enough.
const fresh = "use a newer kernel; Debian 12: apt install -t bookworm-backports linux-image-amd64"

const userNamespaces = "sysctl -w kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), user.max_user_namespaces=10000; in a container: run it with --security-opt seccomp=unconfined; or run as root"

// checks is the table: one row a fact, in the order of the report.
func checks() []Check {
	return []Check{
		{
			Name: "arch", Title: "an x86-64 processor", For: []Purpose{Lend, Run},
			Cost: "nothing works", Remedy: "use an x86-64 machine", probe: probeArch,
		},
		{
			Name: "namespaces", Title: "user, pid, mount, net, ipc, uts namespaces", For: []Purpose{Lend, Lab},
			Cost: "no pod can be made for guests", Remedy: userNamespaces, probe: fromChild(podChild, "namespaces"),
		},
		{
			Name: "empty-root", Title: "mounting an empty root in a pod", For: []Purpose{Lend, Lab},
			Cost: "guests could see this machine's files, so none is admitted", Remedy: userNamespaces, probe: fromChild(podChild, "empty-root"),
		},
		{
			Name: "set-tid", Title: "choosing a guest's pid (clone3 set_tid)", For: []Purpose{Lend},
			Cost: "guests cannot have the pids they have at home", Remedy: fresh + " (5.5, CONFIG_CHECKPOINT_RESTORE)", probe: fromChild(podChild, "set-tid"),
		},
		{
			Name: "time-ns", Title: "time namespaces with offsets", For: []Purpose{Lend},
			Cost: "a guest's monotonic clock would jump at each move", Remedy: fresh + " (5.6, CONFIG_TIME_NS)", probe: fromChild(podChild, "time-ns"),
		},
		{
			Name: "proc", Title: "a fresh /proc in a pid namespace", For: []Purpose{Lab},
			Cost: "homing lab cannot start its nodes", Remedy: "in a container, run it with an unmasked /proc (podman: --security-opt unmask=ALL; docker: --security-opt systempaths=unconfined)", probe: fromChild(podChild, "proc"),
		},
		{
			Name: "mm-map", Title: "setting a program's memory map (PR_SET_MM_MAP)", For: []Purpose{Lend, Run},
			Cost: "a moved program would lose its heap's and stack's bounds", Remedy: "use a kernel with CONFIG_CHECKPOINT_RESTORE", probe: probeMMMap,
		},
		{
			Name: "seccomp-notify", Title: "system-call notification (seccomp)", For: []Purpose{Lend},
			Cost: "a guest's calls cannot be sent home", Remedy: fresh + " (5.0, CONFIG_SECCOMP_FILTER); in a container: --security-opt seccomp=unconfined", probe: fromChild(seccompChild, "notify"),
		},
		{
			Name: "wait-killable", Title: "notification: WAIT_KILLABLE_RECV", For: []Purpose{Lend},
			Cost: "a signal could lose or repeat a call at home", Remedy: fresh + " (5.19)", probe: fromChild(seccompChild, "wait-killable"),
		},
		{
			Name: "addfd", Title: "notification: passing a file (ADDFD)", For: []Purpose{Lend},
			Cost: "a guest cannot map files", Remedy: fresh + " (5.9)", probe: fromChild(seccompChild, "addfd"),
		},
		{
			Name: "sync-wake-up", Title: "notification: SYNC_WAKE_UP", For: []Purpose{Better},
			Cost: "each forwarded call costs two wake-ups across processors more, 20 to 50 µs", Remedy: fresh + " (6.6)", probe: fromChild(seccompChild, "sync-wake-up"),
		},
		{
			Name: "ptrace", Title: "tracing a process that is not our child", For: []Purpose{Lend, Run},
			Cost: "neither shadows nor guests can be controlled", Remedy: "sysctl -w kernel.yama.ptrace_scope=1 (or 0); in a container: --cap-add SYS_PTRACE", probe: fromTracer("ptrace"),
		},
		{
			Name: "rseq", Title: "reading a thread's rseq registration by ptrace", For: []Purpose{Lend, Run},
			Cost: "programs of newer C libraries would crash when moved", Remedy: fresh + " (5.13)", probe: fromTracer("rseq"),
		},
		{
			Name: "process-vm", Title: "reading another process's memory", For: []Purpose{Lend, Run},
			Cost: "memory cannot be carried", Remedy: "use a kernel with CONFIG_CROSS_MEMORY_ATTACH; in a container: --cap-add SYS_PTRACE", probe: fromTracer("process-vm"),
		},
		{
			Name: "pagemap-scan", Title: "finding private pages (PAGEMAP_SCAN)", For: []Purpose{Lend, Run},
			Cost: "what is to be carried cannot be told from what need not be", Remedy: fresh + " (6.7)", probe: probePagemapScan,
		},
		{
			Name: "shm", Title: "SysV shared memory (the arena)", For: []Purpose{Run},
			Cost: "a shadow cannot be given calls to execute", Remedy: "raise sysctl kernel.shmmax, kernel.shmall, kernel.shmmni; see ipcs -m for what fills them", probe: probeSharedMemory,
		},
		{
			Name: "pidfd", Title: "process descriptors (pidfd)", For: []Purpose{Lend, Run},
			Cost: "a process could be taken for another that has its number", Remedy: fresh + " (5.6)", probe: probePidfd,
		},
		{
			Name: "attach", Title: "adopting programs that run already (homing attach)", For: []Purpose{Better},
			Cost: "only what homing run has started can be moved", Remedy: "sysctl -w kernel.yama.ptrace_scope=0, or homing attach as root", probe: probeAttach,
		},
		{
			Name: "pre-copy", Title: "pre-copy: memory goes while the program runs here", For: []Purpose{Better},
			Cost: "a program stands still while all its memory is carried, instead of running on", Remedy: fresh + " (6.7, CONFIG_USERFAULTFD)", probe: probePreCopy,
		},
		{
			Name: "post-copy", Title: "post-copy: memory comes while the program runs there", For: []Purpose{Better},
			Cost: "a program that is moved to this machine stands still until its memory has come", Remedy: "sysctl -w vm.unprivileged_userfaultfd=1, or let the node's user open /dev/userfaultfd", probe: probePostCopy,
		},
		{
			Name: "post-copy-forks", Title: "post-copy: programs that fork meanwhile", For: []Purpose{Better},
			Cost: "a program that forks waits until all its memory has come", Remedy: "run the node as root", probe: probePostCopyForks,
		},
		{
			Name: "files", Title: "enough open files", For: []Purpose{Better},
			Cost: "few programs at a time", Remedy: "raise the limit: ulimit -Hn 65536, or LimitNOFILE= in the service", probe: probeFiles,
		},
		{
			Name: "processes", Title: "enough processes", For: []Purpose{Better},
			Cost: "few programs at a time", Remedy: "raise the limit: ulimit -Hu, or TasksMax= in the service", probe: probeProcesses,
		},
		{
			Name: "memlock", Title: "locking memory", For: []Purpose{Better},
			Cost: "programs that lock memory (mlock) fail away as they would here", Remedy: "raise the limit: ulimit -Hl, or LimitMEMLOCK= in the service", probe: probeMemlock,
		},
		{
			Name: "cgroup", Title: "limits for guests (cgroup v2, delegated)", For: []Purpose{Better},
			Cost: "guests can take all of this machine's processor and memory", Remedy: "start the node as a systemd service with Delegate=yes; until then limit it as a whole: MemoryMax=, CPUWeight=", probe: probeCgroup,
		},
		{
			Name: "clock", Title: "a clock that is kept right", For: []Purpose{Better},
			Cost: "nodes whose clock differs by more than 2 s are refused", Remedy: "timedatectl set-ntp true", probe: probeClock,
		},
	}
}
