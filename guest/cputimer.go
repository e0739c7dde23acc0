package guest

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/tracer"
	"homing/signals"
)

// Timers that count processor time run where the time is spent: in the body.
// Timers on other clocks are home's. Both kinds are made by the same calls:
//
//   - setitimer has a timer of its own for each clock;
//   - timer_create gives a number, which must not be one of home's. The kernel
//     can be told which to give (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15):
//     those of CPU clocks are large. On an older kernel the process comes home.
//
// Their signals arise here, delivered by the body's kernel as any others.
// Timers of a body come home with it (checkpoint.Timers). Unlike natively,
// ITIMER_VIRTUAL and ITIMER_PROF end when a process of several threads executes
// another program: that gets a new body.

// firstCPUTimer is the lowest number of a timer on a CPU clock that is made away.
// Home's kernel counts from 0.
const firstCPUTimer = checkpoint.FirstCPUTimer

// cpuTimers is what a process's timers on CPU clocks need; guarded by proc.mu.
type cpuTimers struct {
	state int
	made  int
	kept  map[int]bool // those with home's numbers: made there before the process left
}

const (
	timersUnknown = iota
	timersChosen  // we choose their numbers
	timersFixed   // this kernel always counts
)

// came notes the timers that a process brings with it.
func (t *cpuTimers) came(timers []checkpoint.Timer) {
	for _, m := range timers {
		if m.ID >= firstCPUTimer {
			t.made = max(t.made, m.ID-firstCPUTimer+1)
			continue
		}
		if t.kept == nil {
			t.kept = map[int]bool{}
		}
		t.kept[m.ID] = true
	}
}

func (p *pod) callItimer(th *thread, n *linux.Notif) {
	const itimerVirtual, itimerProf = 1, 2
	switch int32(n.Args[0]) {
	case itimerVirtual, itimerProf:
		p.pass(n.ID)
	default:
		p.forward(th, n.Args)
	}
}

func (p *pod) callClockSleep(th *thread, n *linux.Notif) {
	if checkpoint.IsCPUClock(int32(n.Args[0])) {
		p.pass(n.ID)
		return
	}
	p.forward(th, n.Args)
}

// callTimer serves the calls on a timer that exists.
func (p *pod) callTimer(th *thread, n *linux.Notif) {
	id := int(int32(n.Args[0]))
	th.proc.mu.Lock()
	here := id >= firstCPUTimer || th.proc.timers.kept[id]
	th.proc.mu.Unlock()
	if here {
		p.pass(n.ID)
		return
	}
	p.forward(th, n.Args)
}

func (p *pod) callTimerCreate(th *thread, n *linux.Notif) {
	if !checkpoint.IsCPUClock(int32(n.Args[0])) {
		p.forward(th, n.Args)
		return
	}
	pr := th.proc
	pr.mu.Lock()
	state := pr.timers.state
	if state == timersChosen {
		pr.timers.made++
	}
	id := uint32(firstCPUTimer + pr.timers.made - 1)
	pr.mu.Unlock()
	switch state {
	case timersUnknown:
		p.tr.Post(func() { p.chooseTimers(th) })
		return
	case timersFixed:
		p.bringHome(th, "timer_create on a CPU clock (Linux 6.15 keeps it away)")
		return
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], id)
	_, _ = linux.WriteMemory(th.here, n.Args[2], b[:]) // the call itself says EFAULT
	p.pass(n.ID)
}

// prTimerCreateRestoreIDs makes timer_create take the number from where it
// puts it otherwise.
const prTimerCreateRestoreIDs = 77

// chooseTimers prepares a process for numbered timers and has its thread make
// its call again. Tracer's thread.
func (p *pod) chooseTimers(th *thread) {
	if err := linux.Interrupt(th.here); err != nil {
		return // it is dying
	}
	if !p.respond(th.notifID, -signals.ERESTARTNOINTR) || p.waitStop(th.here) != nil {
		return
	}
	var regs linux.Regs
	if err := linux.GetRegs(th.here, &regs); err != nil {
		return
	}
	rewind(&regs)
	mask, err := tracer.BlockSignals(th.here)
	if err != nil {
		return
	}
	th.injecting.Store(true)
	_, err = p.body().Inject(th.here, []tracer.Call{tracer.C(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 1)})
	th.proc.mu.Lock()
	if th.proc.timers.state = timersChosen; err != nil {
		th.proc.timers.state = timersFixed
	}
	th.proc.mu.Unlock()
	if err := p.resume(th, &regs, mask); err != nil && err != unix.ESRCH {
		p.log.Error("cannot resume body", "tid", th.tid, "err", err)
	}
}

// dropTimers gives the calls that delete a process's numbered timers, as execve
// does; those at home have gone with the old program there. Tracer's thread.
func (p *pod) dropTimers(pr *proc) []tracer.Call {
	pr.timerSignals.reset()
	pr.mu.Lock()
	none := pr.timers.made == 0 && len(pr.timers.kept) == 0
	pr.timers.kept = nil
	pr.mu.Unlock()
	if none {
		return nil
	}
	ids, err := checkpoint.TimerIDs(pr.body)
	if err != nil {
		p.log.Warn("timers outlive an execve", "pid", pr.pid, "err", err)
	}
	calls := make([]tracer.Call, len(ids))
	for i, id := range ids {
		calls[i] = tracer.C(unix.SYS_TIMER_DELETE, uint64(id))
	}
	return calls
}

// captureTimers reads the timers of a process that stands still. Tracer's thread.
func (p *pod) captureTimers(pr *proc) (checkpoint.Timers, error) {
	threads := p.threadsOf(pr)
	home := make(map[int]int, len(threads))
	for _, th := range threads {
		home[th.here] = th.tid
	}
	return checkpoint.CaptureTimers(pr.body, threads[0].here, p.body(), func(here int) int { return home[here] })
}
