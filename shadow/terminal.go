package shadow

import (
	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
	"homing/syscallfwd"
)

// serveTerminal executes a request that changes a terminal under the part of the
// guest's signal mask that the terminal asks for, which is in Args[5].
func (s *Supervisor) serveTerminal(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	var mask uint64
	if s.tr.Do(func() { mask = th.proc.shadowMask(th) }) == nil {
		s.setMask(th, mask|call.Args[5])
	}
	call.Args[5] = 0
	ret, gone := s.execute(th, call)
	s.answer(th, call, ret, gone, reply)
	if !gone {
		s.restoreMask(th)
	}
}

// block drops the signal that a thread is stopped with and blocks it from now
// on: the call that the terminal refused is made again under the mask that the
// guest has. Tracer's thread.
func (s *Supervisor) block(th *thread) {
	bit := signals.Bit(signals.Signo(&th.heldInfo))
	th.kept |= bit
	if mask, err := linux.GetSigmask(th.tid); err == nil {
		_ = linux.SetSigmask(th.tid, mask|bit) // ESRCH: it is dying
	}
	s.cont(th, 0)
}

// terminalRequest tells whether a call is one for serveTerminal.
func terminalRequest(call *syscallfwd.Call) bool {
	return call.Flags&protocol.CallTTY != 0 && call.NR == unix.SYS_IOCTL
}
