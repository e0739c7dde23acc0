package guest

import (
	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/signals"
)

// A terminal answers a background process with SIGTTIN or SIGTTOU, to its whole
// group, unless the caller blocks or ignores the signal (tcsetpgrp(3),
// credentials(7)). Masks are the guest's kernel's, the terminal is home's:
//
//   - Requests that change a terminal carry whether their thread blocks the
//     signals, and home's kernel sees it.
//   - Reading and writing happen too often to ask each time. There the signal
//     comes, is not kept, and the shadow blocks it when it makes the call again,
//     until the guest is seen to have unblocked it.

const jobSignals = 1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1)

// changesTerminal tells whether the kernel asks who makes an ioctl request:
// those that call tty_check_change.
func changesTerminal(request uint32) bool {
	switch request {
	case unix.TIOCSPGRP, unix.TIOCSETD, unix.TIOCSBRK, unix.TIOCCBRK,
		unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETA, unix.TCSETAW, unix.TCSETAF,
		unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2, unix.TCSBRK, unix.TCSBRKP, unix.TCXONC, unix.TCFLSH:
		return true
	}
	return false
}

// forwardTerminal forwards such a request.
func (p *pod) forwardTerminal(th *thread) {
	st, err := linux.ReadStatus(th.here)
	blocked := st.SigBlk & jobSignals
	if err != nil || blocked == 0 {
		p.forward(th, th.args)
		return
	}
	call, err := th.enc.Marshal(th.entry, int32(th.tid), th.args, memory(th.here), maxImage)
	if err != nil {
		p.bringHome(th, th.entry.Name+": "+err.Error())
		return
	}
	call.Flags |= protocol.CallTTY
	call.Args[5] = blocked
	p.send(th, call)
}

// fromTerminal tells whether a signal is a terminal's answer to the pending call
// of a thread which blocks it.
func (p *pod) fromTerminal(m protocol.SignalMessage, si *signals.Info) bool {
	const siKernel = 0x80
	if signals.Bit(signals.Signo(si))&jobSignals == 0 || signals.Code(si) != siKernel {
		return false
	}
	th := p.threadHome(m.TID)
	if th == nil {
		return false
	}
	th.mu.Lock()
	calling := th.calling
	th.mu.Unlock()
	return calling && blocks(th, signals.Signo(si))
}
