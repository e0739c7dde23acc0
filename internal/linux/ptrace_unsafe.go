package linux

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ptrace requests and constants missing from x/sys, see ptrace(2).
const (
	ptraceGetSigmask  = 0x420a
	ptraceSetSigmask  = 0x420b
	ptraceListen      = 0x4208
	ptracePeekSiginfo = 0x4209
	ptraceGetSiginfo  = 0x4202
	ptraceSetSiginfo  = 0x4203
	ptraceGetRegset   = 0x4204
	ptraceSetRegset   = 0x4205
	ptraceGetRseq     = 0x420f
	ptraceGetDispatch = 0x4211

	// EventStop is PTRACE_EVENT_STOP: the stop that PTRACE_INTERRUPT, a group
	// stop or the attachment of a new child causes in a seized tracee.
	EventStop = 128

	// NTX86Xstate is the register set of all extended processor state,
	// NT_X86_XSTATE of elf(5).
	NTX86Xstate = 0x202
)

// Regs are the general registers of a stopped tracee, struct user_regs_struct.
type Regs = unix.PtraceRegs

// SiginfoSize is sizeof(siginfo_t), see sigaction(2).
const SiginfoSize = 128

// Siginfo is a raw siginfo_t.
type Siginfo [SiginfoSize]byte

func ptrace(request, pid int, addr, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ptraceData is ptrace with memory of ours. It takes a pointer, not a uintptr:
// the stack that the memory may lie on can move until the system call.
func ptraceData(request, pid int, addr uintptr, data unsafe.Pointer) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Seize attaches to a thread without stopping it (PTRACE_SEIZE of ptrace(2))
// and sets the given PTRACE_O_* options.
func Seize(tid int, options uintptr) error {
	return ptrace(unix.PTRACE_SEIZE, tid, 0, options)
}

// SetOptions changes the options of a tracee, in a ptrace stop.
func SetOptions(tid int, options uintptr) error {
	return ptrace(unix.PTRACE_SETOPTIONS, tid, 0, options)
}

// Interrupt asks a seized thread to stop (PTRACE_INTERRUPT).
func Interrupt(tid int) error { return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// Listen leaves a thread in its group stop but lets it report the end of it
// (PTRACE_LISTEN).
func Listen(tid int) error { return ptrace(ptraceListen, tid, 0, 0) }

// Cont resumes a stopped tracee and delivers sig to it unless 0 (PTRACE_CONT).
func Cont(tid, sig int) error { return ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig)) }

// ContSyscall resumes a tracee up to the next system-call stop (PTRACE_SYSCALL).
func ContSyscall(tid, sig int) error { return ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig)) }

// Step resumes a tracee for one instruction (PTRACE_SINGLESTEP).
func Step(tid int) error { return ptrace(unix.PTRACE_SINGLESTEP, tid, 0, 0) }

// Detach lets a stopped tracee go and delivers sig to it unless 0.
func Detach(tid, sig int) error { return ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(sig)) }

// GetRegs reads the general registers of a stopped tracee.
func GetRegs(tid int, r *Regs) error {
	return ptraceData(unix.PTRACE_GETREGS, tid, 0, unsafe.Pointer(r))
}

// SetRegs writes the general registers of a stopped tracee.
func SetRegs(tid int, r *Regs) error {
	return ptraceData(unix.PTRACE_SETREGS, tid, 0, unsafe.Pointer(r))
}

// GetEventMsg returns the message of the last ptrace event (a new thread's
// number, a former thread's number at exec, an exit status).
func GetEventMsg(tid int) (uint64, error) {
	var msg uint64
	err := ptraceData(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&msg))
	return msg, err
}

// GetSiginfo reads the siginfo of the signal a tracee is stopped with.
// EINVAL tells a group stop from a signal-delivery stop.
func GetSiginfo(tid int, si *Siginfo) error {
	return ptraceData(ptraceGetSiginfo, tid, 0, unsafe.Pointer(si))
}

// SetSiginfo replaces the siginfo of the signal about to be delivered.
func SetSiginfo(tid int, si *Siginfo) error {
	return ptraceData(ptraceSetSiginfo, tid, 0, unsafe.Pointer(si))
}

// GetSigmask reads the blocked signals of a stopped tracee; bit n-1 is signal n.
func GetSigmask(tid int) (uint64, error) {
	var set uint64
	err := ptraceData(ptraceGetSigmask, tid, 8, unsafe.Pointer(&set))
	return set, err
}

// SetSigmask replaces the blocked signals of a stopped tracee.
func SetSigmask(tid int, set uint64) error {
	return ptraceData(ptraceSetSigmask, tid, 8, unsafe.Pointer(&set))
}

// peekSiginfoArgs is struct ptrace_peeksiginfo_args.
type peekSiginfoArgs struct {
	_     structs.HostLayout
	off   uint64
	flags uint32
	nr    int32
}

// PeekSiginfo copies up to len(out) queued signals of a stopped tracee,
// starting with the off-th, without taking them (PTRACE_PEEKSIGINFO). With
// shared it reads the process-wide queue.
func PeekSiginfo(tid int, off uint64, shared bool, out []Siginfo) (int, error) {
	if len(out) == 0 {
		return 0, nil
	}
	args := peekSiginfoArgs{off: off, nr: int32(len(out))}
	if shared {
		args.flags = 1
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptracePeekSiginfo, uintptr(tid),
		uintptr(unsafe.Pointer(&args)), uintptr(unsafe.Pointer(&out[0])), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// GetRegset reads register set typ (NT_*) into buf and returns its length.
func GetRegset(tid, typ int, buf []byte) (int, error) {
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	if err := ptraceData(ptraceGetRegset, tid, uintptr(typ), unsafe.Pointer(&iov)); err != nil {
		return 0, err
	}
	return int(iov.Len), nil
}

// SetRegset writes register set typ (NT_*).
func SetRegset(tid, typ int, buf []byte) error {
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	return ptraceData(ptraceSetRegset, tid, uintptr(typ), unsafe.Pointer(&iov))
}

// Rseq is a thread's registration of rseq(2), struct ptrace_rseq_configuration.
type Rseq struct {
	_         structs.HostLayout
	Addr      uint64
	Size      uint32
	Signature uint32
	Flags     uint32
	Pad       uint32
}

// GetRseq reads a stopped tracee's rseq registration; Addr is 0 if it has none.
func GetRseq(tid int) (Rseq, error) {
	var r Rseq
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetRseq, uintptr(tid),
		unsafe.Sizeof(r), uintptr(unsafe.Pointer(&r)), 0, 0)
	if errno != 0 {
		return r, errno
	}
	return r, nil
}

// dispatchConfig is struct ptrace_sud_config.
type dispatchConfig struct {
	_                           structs.HostLayout
	mode, selector, offset, len uint64
}

// DispatchesCalls tells whether a stopped tracee has its own system calls turned
// into signals (PR_SET_SYSCALL_USER_DISPATCH(2const)).
func DispatchesCalls(tid int) (bool, error) {
	var c dispatchConfig
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetDispatch, uintptr(tid),
		unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)), 0, 0)
	if errno == unix.EIO || errno == unix.EINVAL { // a kernel before 6.4, or without
		return false, nil
	}
	if errno != 0 {
		return false, errno
	}
	return c.mode != 0, nil
}

// GetRobustList returns the head of a thread's robust futex list and its
// length, see get_robust_list(2).
func GetRobustList(tid int) (head, length uint64, err error) {
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid),
		uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return 0, 0, errno
	}
	return head, length, nil
}

// Wait waits for a change of a child or tracee of the calling thread only
// (wait4(2) with __WALL|__WNOTHREAD). It returns EINTR if a signal without
// SA_RESTART, see Kick, arrived first.
func Wait(pid int, ws *unix.WaitStatus, options int, ru *unix.Rusage) (int, error) {
	var status int32
	n, _, errno := unix.Syscall6(unix.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)),
		uintptr(options|unix.WALL|unix.WNOTHREAD), uintptr(unsafe.Pointer(ru)), 0, 0)
	*ws = unix.WaitStatus(status)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Event returns the PTRACE_EVENT_* number of a stop, or 0.
func Event(ws unix.WaitStatus) int {
	if !ws.Stopped() {
		return 0
	}
	return int(uint32(ws) >> 16)
}

// kernelSigaction is struct kernel_sigaction of the x86-64 rt_sigaction(2).
type kernelSigaction struct {
	_                              structs.HostLayout
	handler, flags, restorer, mask uint64
}

// IgnoreSignal sets SIG_IGN for this process, behind the Go runtime's back:
// only right before execve.
func IgnoreSignal(sig int) error {
	sa := kernelSigaction{handler: 1}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// SetOwnSigmask sets the calling thread's signal mask, likewise.
func SetOwnSigmask(set uint64) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// QueueSignal queues a signal with its siginfo to a process, rt_sigqueueinfo(2).
func QueueSignal(pid, sig int, si *Siginfo) error {
	_, _, errno := unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(si)))
	if errno != 0 {
		return errno
	}
	return nil
}

// QueueThreadSignal queues a signal to one thread, rt_tgsigqueueinfo(2).
func QueueThreadSignal(pid, tid, sig int, si *Siginfo) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(pid), uintptr(tid), uintptr(sig), uintptr(unsafe.Pointer(si)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
