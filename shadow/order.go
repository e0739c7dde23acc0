package shadow

import (
	"slices"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/signals"
	"homing/syscallfwd"
)

// Real-time signals are queued, and arrive in the order in which they were sent.
// Here that order would be lost where several threads of a shadow take them one
// each: they stop at the same time, and nothing tells who was first. So, from the
// first one sent to a process of several threads, its leader alone takes signals
// of that number; the others block them. Those that are sent to such a thread
// itself then wait for it: whoever sends one has it look (nudge).

// ordered tells whether order matters for a signal that was sent to a process:
// one that is queued and has a sender, see sigaction(2).
func ordered(sig int, info *signals.Info) bool {
	const user, queue = 0, -1
	code := signals.Code(info)
	return sig >= signals.FirstRealTime && (code == user || code == queue)
}

// keepOrder has the leader alone take a signal of which th has just got one.
// Others that stand with one already got theirs before, if they come before th:
// the kernel asks the leader first, then the others in turn.
// The rest is done by the function returned, once the signal of th is on its way.
func (s *Supervisor) keepOrder(th *thread, sig int) func() {
	p := th.proc
	threads := s.of(p)
	leader := slices.IndexFunc(threads, func(t *thread) bool { return t.tid == p.pid })
	if len(threads) < 2 || leader < 0 || p.leaderless {
		return func() {}
	}
	p.ordered |= signals.Bit(sig)
	threads[0], threads[leader] = threads[leader], threads[0]
	slices.SortFunc(threads[1:], func(a, b *thread) int { return a.tid - b.tid })
	i := slices.Index(threads, th)
	s.takeEvents(threads[:i])
	return func() {
		s.takeEvents(threads[i+1:])
		s.remaskAll(p)
	}
}

// takeEvents handles the events of stopped threads that wait to be told.
func (s *Supervisor) takeEvents(threads []*thread) {
	for _, th := range threads {
		var ws unix.WaitStatus
		var ru unix.Rusage
		if tid, err := linux.Wait(th.tid, &ws, unix.WNOHANG, &ru); err == nil && tid == th.tid {
			s.Event(tid, ws, &ru)
		}
	}
}

// left is what a thread blocks because the leader takes it, but for signals that
// wait for the thread itself. Tracer's thread.
func (p *process) left(th *thread) uint64 {
	if p.ordered == 0 || p.leaderless || th.tid == p.pid {
		th.own = 0
		return 0
	}
	st, err := linux.ReadStatus(th.tid)
	if err != nil {
		return p.ordered // it is dying
	}
	th.own = st.SigPnd & p.ordered
	return p.ordered &^ th.own
}

// serveThreadKill sends a signal to a thread, and has that look for it. Where the
// signal does not say itself that it was sent to a thread, it is expected there.
func (s *Supervisor) serveThreadKill(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	tid, sig := int(int32(call.Args[1])), int(int32(call.Args[2]))
	if call.NR == unix.SYS_TKILL {
		tid, sig = int(int32(call.Args[0])), int(int32(call.Args[1]))
	}
	to := s.thread(tid)
	if to == nil || sig < 1 || sig > 64 {
		ret, gone := s.execute(th, call)
		s.answer(th, call, ret, gone, reply)
		return
	}
	expect := func(n int32) {
		if call.NR == unix.SYS_RT_TGSIGQUEUEINFO {
			_ = s.tr.Do(func() { to.expected[sig] += n }) // ErrClosed: the job is ending
		}
	}
	expect(1)
	ret, gone := s.execute(th, call)
	if ret < 0 {
		expect(-1)
	} else if sig >= signals.FirstRealTime {
		_ = s.tr.Do(func() { s.nudge(to, sig) }) // likewise
	}
	s.answer(th, call, ret, gone, reply)
}

func (s *Supervisor) nudge(th *thread, sig int) {
	if th.proc.ordered&signals.Bit(sig) != 0 && th.tid != th.proc.pid {
		s.remaskThread(th)
	}
}

// sentToThread tells whether a signal was sent to the thread that stopped with
// it, not to its process.
func (th *thread) sentToThread(sig int, info *signals.Info) bool {
	if th.own&signals.Bit(sig) != 0 || signals.Code(info) == siTkill {
		return true
	}
	if th.expected[sig] > 0 {
		th.expected[sig]--
		return true
	}
	return false
}

// leaderExits: its signals are for all the others again.
func (s *Supervisor) leaderExits(p *process) {
	s.tr.Post(func() {
		p.leaderless = true
		if p.ordered != 0 {
			s.remaskAll(p)
		}
	})
}

// inherits sees to the mask of a new thread or process, which is its maker's.
func (s *Supervisor) inherits(child *thread, from *process) {
	if from.ordered == 0 {
		return
	}
	if s.strays[child.tid] { // stands already
		_ = linux.SetSigmask(child.tid, child.proc.shadowMask(child)) // ESRCH: it is dying
		return
	}
	child.remask = true
}
