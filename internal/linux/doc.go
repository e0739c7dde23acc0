// Package linux holds thin, typed bindings for the kernel interfaces that
// golang.org/x/sys/unix lacks: ptrace requests of the SEIZE family, seccomp
// user notification, PAGEMAP_SCAN, process_vm, futex, SysV shared memory and
// the parsers of /proc/PID/{maps,stat,status}.
//
// Each function is one system call (its manual page is named) and adds no
// policy: EINTR is handled here, once, and nothing else. Memory shared with
// the kernel is described by structs with structs.HostLayout whose sizes are
// pinned by a test.
package linux
