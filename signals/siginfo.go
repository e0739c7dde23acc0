// Package signals knows what the two ends must agree on about signals:
// siginfo_t and how it is carried through a kernel that would not let another
// process send it, default actions, and signal sets.
//
// One source of truth at each end: the home kernel accepts signals (who may
// send, to which process group, from which terminal); the guest's kernel
// delivers them (masks, handlers, queues). See signal(7).
package signals

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Info is a siginfo_t, see sigaction(2).
type Info = linux.Siginfo

// carried is the si_code of a siginfo in transit: SI_SIGIO. rt_sigqueueinfo(2)
// lets one process send another any negative si_code but SI_TKILL, and with
// this one the kernel translates neither si_pid nor si_uid between namespaces.
// A guest has no descriptor that could raise SI_SIGIO of its own, so the code
// is free to mean "carried". The true code travels in si_errno, which signals
// leave at 0, and is put back when the signal is delivered.
const carried = -5

// Signo returns si_signo.
func Signo(si *Info) int { return int(int32(binary.LittleEndian.Uint32(si[0:]))) }

// Code returns si_code.
func Code(si *Info) int { return int(int32(binary.LittleEndian.Uint32(si[8:]))) }

// Carry returns si in the form that can be queued from outside.
func Carry(si Info) Info {
	code := binary.LittleEndian.Uint32(si[8:])
	c := int32(carried)
	binary.LittleEndian.PutUint32(si[8:], uint32(c))
	binary.LittleEndian.PutUint32(si[4:], code)
	return si
}

// Uncarry undoes Carry in place; false if si was not carried. It also accepts
// the first 12 bytes alone.
func Uncarry(si []byte) bool {
	if int32(binary.LittleEndian.Uint32(si[8:])) != carried {
		return false
	}
	copy(si[8:12], si[4:8])
	clear(si[4:8])
	return true
}

// Action is what the kernel does with a signal that has no handler.
type Action int

// Default actions, see signal(7).
const (
	Terminate Action = iota
	Core
	Stop
	Ignore
)

// Default returns the default action of a signal.
func Default(sig int) Action {
	switch unix.Signal(sig) {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH, unix.SIGCONT:
		return Ignore
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return Stop
	case unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV,
		unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSYS:
		return Core
	}
	return Terminate
}

// DefaultIgnored is the set of signals whose default action is to be ignored.
const DefaultIgnored = 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1) | 1<<(unix.SIGCONT-1)

// FirstRealTime is the first real-time signal that programs can use, queued in
// order; glibc needs 32 and 33 itself, and sends them to threads.
const FirstRealTime = 34

// Bit is the bit of a signal in a sigset.
func Bit(sig int) uint64 { return 1 << uint(sig-1) }

// DefaultHandler and IgnoreHandler are SIG_DFL and SIG_IGN.
const (
	DefaultHandler = 0
	IgnoreHandler  = 1
)

// Restart codes of the kernel, never seen by programs (include/linux/errno.h).
const (
	ERESTARTSYS           = 512
	ERESTARTNOINTR        = 513
	ERESTARTNOHAND        = 514
	ERESTART_RESTARTBLOCK = 516
)

// IsRestart tells whether a result says that a call was interrupted.
func IsRestart(ret int64) bool {
	switch -ret {
	case ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK:
		return true
	}
	return false
}

// Flags of a disposition, see sigaction(2).
const (
	NoChildStop = 0x1        // SA_NOCLDSTOP
	NoChildWait = 0x2        // SA_NOCLDWAIT
	Restorer    = 0x04000000 // SA_RESTORER
	ResetHand   = 0x80000000 // SA_RESETHAND
)
