package guest

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/tracer"
	"homing/signals"
	"homing/syscallfwd"
)

// Calls that wait for a length of time, see shadow/limit.go: those of the guest's
// own kernel are begun with what is left of their time, and interrupted, when
// their thread arrives; the kernel goes on with them.

// timeLimit is when the time of a thread's local call is over.
type timeLimit struct {
	at       int64  // as checkpoint.Thread.Deadline
	switches uint64 // voluntary context switches when it went on
}

// now is home's CLOCK_MONOTONIC.
func (p *pod) now() int64 { return linux.Clock(unix.CLOCK_MONOTONIC) + p.ahead }

func (p *pod) left(deadline int64) time.Duration { return time.Duration(max(deadline-p.now(), 1)) }

// noteLimit is told that a thread goes on. Tracer's thread.
func (p *pod) noteLimit(th *thread) {
	if th.limit.at == 0 {
		return
	}
	var ok bool
	if th.limit.switches, ok = linux.ContextSwitches(th.proc.body, th.here); !ok {
		th.limit.at = 0
	}
}

// deadlineOf tells when the time is over of the local call in which a thread was
// stopped; 0 if it has none. Tracer's thread.
func (p *pod) deadlineOf(th *thread, r *linux.Regs) int64 {
	if th.deadline != 0 {
		return th.deadline // it has not made the call yet
	}
	ret := int64(r.Rax)
	if int64(r.Orig_rax) < 0 || !signals.IsRestart(ret) && ret != -int64(unix.EINTR) {
		return 0
	}
	const blockedAndStopped = 2
	if n, ok := linux.ContextSwitches(th.proc.body, th.here); th.limit.at > p.now() && ok && n == th.limit.switches+blockedAndStopped {
		return th.limit.at
	}
	args := [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
	whole, _, _, ok := syscallfwd.TimeoutIn(uint32(r.Orig_rax), args, memory(th.here))
	if now := p.now(); ok && whole >= 0 && int64(whole) < math.MaxInt64-now {
		return now + int64(whole) // it begins anew, once
	}
	return 0
}

// waitOn prepares a thread that has arrived to wait on in the call that it is
// about to make again. Tracer's thread.
func (p *pod) waitOn(th *thread, t *checkpoint.Thread) error {
	if int64(t.Regs.Orig_rax) >= 0 {
		return nil
	}
	nr := t.Regs.Rax
	if nr != unix.SYS_FUTEX {
		th.deadline = t.Deadline // for forward
		return nil
	}
	r := &t.Regs
	args := [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
	_, arg, _, ok := syscallfwd.TimeoutIn(uint32(nr), args, memory(th.here))
	if !ok {
		return nil
	}
	body := p.body()
	var b [16]byte
	syscallfwd.EncodeTimespec(b[:], p.left(t.Deadline))
	if err := body.WriteScratch(th.here, b[:]); err != nil {
		return err
	}
	args[arg] = body.Table + uint64(body.Size)
	native, err := tracer.NewNative(p.tr, th.here)
	if err != nil {
		return err
	}
	if err := linux.SetSigmask(th.here, ^uint64(0)); err != nil {
		return err
	}
	ret, done, err := native.Seed(th.here, nr, args)
	if err != nil || done && signals.IsRestart(ret) {
		return err
	}
	r.Rip += 2
	r.Rax = uint64(ret)
	if !done {
		r.Orig_rax = nr
		th.limit.at = t.Deadline
	}
	return nil
}
