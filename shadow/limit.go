package shadow

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

// A call that waits for a length of time must not begin anew with each move:
//
//   - Of a forwarded call it is known here when its time is over.
//   - A thread that comes home in such a call is made to begin it with what is
//     left and interrupted at once: the kernel then goes on with the call by
//     itself (tracer.Native.Seed), with the program's own arguments. epoll_wait
//     knows no such thing, there the argument's register is changed.
//   - When the thread leaves again while it is still in that call, which its count
//     of context switches tells, what is left is known as well. Sleeps tell by
//     themselves. Of a call that began here nothing is known: it begins anew, once.

// timeLimit is when the time of a thread's call is over.
type timeLimit struct {
	at       int64  // ns of CLOCK_MONOTONIC
	switches uint64 // the thread's voluntary context switches before it went on
	nr, rip  uint64 // the call, and what follows it
}

func (p *process) noteLimit(tid int, t *checkpoint.Thread) {
	if t.Deadline == 0 {
		return
	}
	if n, ok := linux.ContextSwitches(p.pid, tid); ok {
		if p.limits == nil {
			p.limits = map[int]timeLimit{}
		}
		p.limits[tid] = timeLimit{t.Deadline, n, t.Regs.Orig_rax, t.Regs.Rip}
	}
}

// restarted tells a call that the kernel goes on with from restart_syscall(2).
func (p *process) restarted(tid int, r *linux.Regs) {
	l, ok := p.limits[tid]
	if ok && r.Orig_rax == unix.SYS_RESTART_SYSCALL && signals.IsRestart(int64(r.Rax)) && r.Rip == l.rip && int64(l.nr) >= 0 {
		r.Orig_rax = l.nr
		return
	}
	checkpoint.Restarted(tid, r)
}

// deadline tells when the time is over of the call in which a thread was
// stopped, 0 if it is not known or has none.
func (p *process) deadline(tid int, r *linux.Regs) int64 {
	ret := int64(r.Rax)
	if int64(r.Orig_rax) < 0 || !signals.IsRestart(ret) && ret != -int64(unix.EINTR) {
		return 0
	}
	args := [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
	whole, _, _, ok := syscallfwd.TimeoutIn(uint32(r.Orig_rax), args, memory(p.pid))
	if !ok {
		return 0
	}
	rest := uint64(0) // where the kernel has just put what is left
	switch {
	case ret != -signals.ERESTART_RESTARTBLOCK:
	case r.Orig_rax == unix.SYS_NANOSLEEP:
		rest = r.Rsi
	case r.Orig_rax == unix.SYS_CLOCK_NANOSLEEP:
		rest = r.R10
	}
	now := linux.Clock(unix.CLOCK_MONOTONIC)
	if rest != 0 {
		if left, ok := syscallfwd.ReadTimespec(memory(p.pid), rest); ok {
			return now + int64(left)
		}
	}
	const blockedAndStopped = 2
	if l, ok := p.limits[tid]; ok {
		if n, ok := linux.ContextSwitches(p.pid, tid); ok && n == l.switches+blockedAndStopped && l.at > now { // else that call is over
			return l.at
		}
	}
	return from(now, whole)
}

// from is when a length of time is over, 0 if it never is.
func from(now int64, d time.Duration) int64 {
	if d < 0 || int64(d) > math.MaxInt64-now {
		return 0
	}
	return now + int64(d)
}

// waitOn makes a rebuilt thread wait on in its call until its deadline. It ends in
// the registers which the thread goes on with. Tracer's thread.
func (s *Supervisor) waitOn(th *thread, t *checkpoint.Thread) error {
	r := &t.Regs
	if int64(r.Orig_rax) < 0 { // about to make it
		r.Orig_rax, r.Rip = r.Rax, r.Rip+2
		code := int64(-signals.ERESTARTNOINTR)
		r.Rax = uint64(code)
	}
	nr := r.Orig_rax
	args := [6]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
	_, arg, isMillis, ok := syscallfwd.TimeoutIn(uint32(nr), args, memory(th.proc.pid))
	if !ok {
		return nil
	}
	left := time.Duration(max(t.Deadline-linux.Clock(unix.CLOCK_MONOTONIC), 1))
	switch nr {
	case unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT:
		r.R10 = uint64(syscallfwd.Millis(left))
		return nil
	case unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_POLL, unix.SYS_FUTEX:
	default:
		t.Deadline = 0
		return nil
	}
	body := s.body(th)
	if isMillis {
		args[arg] = uint64(syscallfwd.Millis(left))
	} else {
		var b [16]byte
		syscallfwd.EncodeTimespec(b[:], left)
		if err := body.WriteScratch(th.tid, b[:]); err != nil {
			return err
		}
		args[arg] = body.Table + uint64(body.Size)
	}
	native, err := tracer.NewNative(s.tr, th.proc.pid)
	if err != nil {
		return err
	}
	if err := linux.SetSigmask(th.tid, ^uint64(0)); err != nil {
		return err
	}
	ret, done, err := native.Seed(th.tid, nr, args)
	if err != nil {
		return err
	}
	if _, err := tracer.BlockSignals(th.tid); err != nil {
		return err
	}
	if done && signals.IsRestart(ret) {
		return nil // it can only begin anew
	}
	r.Rax = uint64(ret)
	if done {
		r.Orig_rax, t.Deadline = ^uint64(0), 0
	}
	return nil
}
