package checkpoint

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/signals"
)

// Restarted finds out which call a thread is in that the kernel has had go on with
// restart_syscall(2), as after an earlier interruption: the kernel does not tell,
// but the arguments are still in the registers, and the number is loaded shortly
// before the syscall instruction. Where it is not, the thread is left as it is, and
// its call ends with EINTR.
func Restarted(tid int, r *linux.Regs) {
	if r.Orig_rax != unix.SYS_RESTART_SYSCALL || !signals.IsRestart(int64(r.Rax)) {
		return
	}
	const (
		before  = 64
		movEAX  = 0xb8 // mov $imm32, %eax
		syscall = 2    // bytes of the instruction
	)
	var code [before]byte
	at := r.Rip - syscall - before
	if n, err := linux.ReadMemory(tid, at, code[:]); err != nil || n < len(code) {
		return
	}
	for i := before - 5; i >= 0; i-- {
		if nr := binary.LittleEndian.Uint32(code[i+1:]); code[i] == movEAX && slices.Contains(restartable, nr) {
			r.Orig_rax = uint64(nr)
			return
		}
	}
}

// restartable are the calls that end with ERESTART_RESTARTBLOCK.
var restartable = []uint32{unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_POLL, unix.SYS_FUTEX}
