package shadow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
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
	if leader < 0 || p.leaderless {
		return func() {}
	}
	p.ordered |= signals.Bit(sig) // threads to come are told at their birth
	if len(threads) < 2 {
		return func() {}
	}
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
	if !ordered(sig, info) {
		return false
	}
	// A thread's own come first: if another one waits, so was this.
	st, err := linux.ReadStatus(th.tid)
	return err == nil && st.SigPnd&signals.Bit(sig) != 0
}

// requeue has a stopped thread send itself, or its process, signals with their
// own siginfo, which only the process itself may do (rt_sigqueueinfo(2)). They
// are older than those that wait already, and come before them: as others may
// send more at any time, the order is looked at afterwards, and made again.
// Tracer's thread.
func (s *Supervisor) requeue(th *thread, infos []signals.Info, directed bool) error {
	var numbers uint64 // of those whose order matters
	for i := range infos {
		if sig := signals.Signo(&infos[i]); sig >= signals.FirstRealTime {
			numbers |= signals.Bit(sig)
		}
	}
	if !directed && len(s.of(th.proc)) == 1 {
		// What is sent to its only thread comes before what is sent to the process,
		// however much of that comes meanwhile.
		if err := s.queueHere(th, only(infos, numbers), true); err != nil {
			return err
		}
		infos, numbers = only(infos, ^numbers), 0
	}
	if !directed && numbers != 0 {
		st, err := linux.ReadStatus(th.tid)
		if err != nil {
			return err
		}
		numbers &^= st.SigPnd // of a number its own come first, and would be taken out
		if numbers != 0 {
			return s.requeueShared(th, infos, numbers)
		}
	}
	const often = 10
	for try := 0; ; try++ {
		waiting, err := s.waiting(th, numbers, !directed)
		if err != nil {
			return err
		}
		if try > 0 && (inOrder(waiting, infos) || try == often) {
			return nil
		}
		if err := s.takeOut(th, waiting); err != nil {
			return err
		}
		if try == 0 {
			infos = slices.Concat(infos, waiting)
		} else {
			infos = slices.Concat(only(infos, numbers), without(waiting, infos))
		}
		if err := s.queueHere(th, infos, directed); err != nil || numbers == 0 {
			return err
		}
	}
}

// requeueShared is requeue for what was sent to a process with several threads.
// There may be thousands, to look at which costs more than to take them.
func (s *Supervisor) requeueShared(th *thread, infos []signals.Info, numbers uint64) error {
	const often = 10
	for try := 0; ; try++ {
		waiting, err := s.takeAll(th, numbers)
		if err != nil {
			return err
		}
		if try == 0 {
			infos = slices.Concat(infos, waiting)
		} else {
			infos = slices.Concat(only(infos, numbers), without(waiting, infos))
		}
		if err := s.queueHere(th, infos, false); err != nil {
			return err
		}
		// Those that came in between wait before all others.
		var first [256]linux.Siginfo
		n, err := linux.PeekSiginfo(th.tid, 0, true, first[:])
		if err != nil || try == often || inOrder(only(first[:n], numbers), infos) {
			return err
		}
	}
}

// takeAll takes all signals of some numbers that wait for a stopped thread.
func (s *Supervisor) takeAll(th *thread, numbers uint64) (taken []signals.Info, err error) {
	const first = 128 // after a set and a timeout of 0
	body := s.body(th)
	scratch := body.Table + uint64(body.Size)
	var calls []tracer.Call
	for at := uint64(first); at+linux.SiginfoSize <= uint64(body.Size); at += linux.SiginfoSize {
		calls = append(calls, tracer.C(unix.SYS_RT_SIGTIMEDWAIT, scratch, scratch+at, scratch+8, 8))
	}
	for {
		b := make([]byte, body.Size)
		binary.LittleEndian.PutUint64(b, numbers)
		if err := body.WriteScratch(th.tid, b); err != nil {
			return taken, err
		}
		done, err := body.Inject(th.tid, calls)
		none := (*tracer.CallError)(nil)
		if err != nil && !errors.As(err, &none) {
			return taken, fmt.Errorf("take out pending signals: %w", err)
		}
		if err := body.ReadScratch(th.tid, b); err != nil {
			return taken, err
		}
		for i := range done {
			taken = append(taken, signals.Info(b[first+i*linux.SiginfoSize:]))
		}
		if none != nil { // no more
			return taken, nil
		}
	}
}

// sendPending passes the signals to the guest that came while its threads were
// being stopped, and those that wait, so that they wait there when it runs. What
// a signalfd reads, and what is ignored, stays here. Tracer's thread.
func (s *Supervisor) sendPending(d *departing) error {
	stays := d.fds | d.ignored
	if len(d.threads) == 1 {
		return s.sendAlone(d.threads[0], stays)
	}
	var shared []signals.Info
	for i, t := range d.threads {
		var own, forFD []signals.Info
		for _, info := range t.swallow {
			switch {
			case stays&signals.Bit(signals.Signo(&info)) != 0:
				forFD = append(forFD, info)
			case signals.Code(&info) == siTkill:
				own = append(own, info)
			default:
				shared = append(shared, info)
			}
		}
		if err := s.requeue(t.th, forFD, false); err != nil {
			return err
		}
		waiting, err := s.waiting(t.th, ^stays, false)
		if err != nil {
			return err
		}
		if err := s.takeOut(t.th, waiting); err != nil {
			return err
		}
		for _, info := range append(own, waiting...) {
			s.pass(t.th, info, true)
		}
		if i < len(d.threads)-1 {
			continue
		}
		if waiting, err = s.waiting(t.th, ^stays, true); err != nil {
			return err
		}
		if err := s.takeOut(t.th, waiting); err != nil {
			return err
		}
		for _, info := range append(shared, waiting...) {
			s.pass(d.threads[0].th, info, false)
		}
	}
	return nil
}

// sendAlone is sendPending for a process of one thread: there is one order, whoever
// they were sent to.
func (s *Supervisor) sendAlone(t *departingThread, stays uint64) error {
	if err := s.requeue(t.th, only(t.swallow, stays), false); err != nil {
		return err
	}
	infos := only(t.swallow, ^stays)
	for _, shared := range []bool{false, true} {
		waiting, err := s.waiting(t.th, ^stays, shared)
		if err != nil {
			return err
		}
		if err := s.takeOut(t.th, waiting); err != nil {
			return err
		}
		infos = append(infos, waiting...)
	}
	for _, info := range infos {
		s.pass(t.th, info, false)
	}
	return nil
}

// pass sends a signal to the pod that no thread stands for.
func (s *Supervisor) pass(th *thread, info signals.Info, directed bool) {
	s.signalID++
	s.unacked[s.signalID] = unackedSignal{th.proc.pid, th.tid, directed, info}
	th.proc.sendSignal(protocol.SignalMessage{
		ID: s.signalID, PID: th.proc.pid, TID: th.tid, Gen: th.proc.gen, Directed: directed, Info: info[:],
	})
}

// waiting lists signals of some numbers that wait for a stopped thread or its process.
func (s *Supervisor) waiting(th *thread, numbers uint64, shared bool) ([]signals.Info, error) {
	if numbers == 0 {
		return nil, nil
	}
	all, err := checkpoint.PendingSignals(th.tid, shared)
	return only(all, numbers), err
}

func only(infos []signals.Info, numbers uint64) (some []signals.Info) {
	for i := range infos {
		if numbers&signals.Bit(signals.Signo(&infos[i])) != 0 {
			some = append(some, infos[i])
		}
	}
	return some
}

// without is infos but for those in others, one for one.
func without(infos, others []signals.Info) (rest []signals.Info) {
	count := map[signals.Info]int{}
	for _, info := range others {
		count[info]++
	}
	for _, info := range infos {
		if count[info]--; count[info] < 0 {
			rest = append(rest, info)
		}
	}
	return rest
}

// inOrder tells whether no signal of a number waits before the first of that
// number in infos.
func inOrder(waiting, infos []signals.Info) bool {
	first := map[int]signals.Info{}
	for i := range infos {
		if sig := signals.Signo(&infos[i]); first[sig] == (signals.Info{}) {
			first[sig] = infos[i]
		}
	}
	for i := range waiting {
		sig := signals.Signo(&waiting[i])
		if was, ok := first[sig]; ok && was != waiting[i] {
			return false
		}
		delete(first, sig)
	}
	return true
}

// takeOut removes waiting signals: many in one stop, as others send more meanwhile.
func (s *Supervisor) takeOut(th *thread, waiting []signals.Info) error {
	const size = 24 // of a set and a timeout of 0
	body := s.body(th)
	scratch := body.Table + uint64(body.Size)
	for some := range slices.Chunk(waiting, body.Size/size) {
		b := make([]byte, size*len(some))
		var calls []tracer.Call
		for i := range some {
			binary.LittleEndian.PutUint64(b[i*size:], signals.Bit(signals.Signo(&some[i])))
			at := scratch + uint64(i*size)
			calls = append(calls, tracer.C(unix.SYS_RT_SIGTIMEDWAIT, at, 0, at+8, 8))
		}
		if err := body.WriteScratch(th.tid, b); err != nil {
			return err
		}
		for len(calls) > 0 {
			taken, err := body.Inject(th.tid, calls)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("take out a pending signal: %w", err)
			}
			calls = calls[len(taken)+1:] // of a timer that has been stopped: the kernel drops it
		}
	}
	return nil
}

// queueHere has a stopped thread send signals to itself or its process, likewise.
func (s *Supervisor) queueHere(th *thread, infos []signals.Info, directed bool) error {
	body := s.body(th)
	scratch := body.Table + uint64(body.Size)
	for some := range slices.Chunk(infos, body.Size/linux.SiginfoSize) {
		var b []byte
		var calls []tracer.Call
		for i := range some {
			at, sig := scratch+uint64(len(b)), uint64(signals.Signo(&some[i]))
			b = append(b, some[i][:]...)
			if directed {
				calls = append(calls, tracer.C(unix.SYS_RT_TGSIGQUEUEINFO, uint64(th.proc.pid), uint64(th.tid), sig, at))
			} else {
				calls = append(calls, tracer.C(unix.SYS_RT_SIGQUEUEINFO, uint64(th.proc.pid), sig, at))
			}
		}
		if err := body.WriteScratch(th.tid, b); err != nil {
			return err
		}
		if _, err := body.Inject(th.tid, calls); err != nil {
			return fmt.Errorf("restore pending signal: %w", err)
		}
	}
	return nil
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
