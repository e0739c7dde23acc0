package shadow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint/transfer"
	"homing/internal/protocol"
	"homing/node"
	"homing/signals"
)

// Moving. Home decides, and is the only one who does:
//
//  1. The processes, and those that share memory with them, are stopped and
//     captured where they are (home: depart.go; a node: Take).
//  2. They are built at the destination, and stand still there.
//  3. Home records that they are there now. Before, whatever fails, they run on
//     where they were; from here on they are the destination's.
//  4. The destination lets them run, what is left at the source is dropped.
//
// One move of a job is made at a time.

// Home is the destination of those who return.
const Home = "home"

// Move moves processes of the job. It returns an error for what it could not
// move; what it could is in the report.
func (s *Supervisor) Move(ctx context.Context, req node.MoveRequest, progress func(node.MoveEvent)) (node.MoveReport, error) {
	start := time.Now()
	events := &eventSink{f: progress}
	defer events.close() // memory may go on moving in the background
	m := &move{s: s, req: req, progress: events.send, report: node.MoveReport{To: req.To, Strategy: "stop"}}
	if req.To != Home {
		at, err := s.reach(ctx, req.To)
		if err != nil {
			return m.report, err
		}
		m.to = at
	}
	pids, err := s.chosen(req)
	if err != nil {
		return m.report, err
	}
	var errs error
	for _, pid := range pids {
		if slices.Contains(m.report.PIDs, pid) {
			continue // it came along with another
		}
		if err := m.one(ctx, pid); err != nil {
			errs = errors.Join(errs, &node.MoveError{PID: pid, Err: err})
		}
	}
	m.report.Total = time.Since(start)
	return m.report, errs
}

// eventSink passes events on for as long as somebody listens. Lock order: mu is a
// leaf.
type eventSink struct {
	mu sync.Mutex
	f  func(node.MoveEvent)
}

func (e *eventSink) send(ev node.MoveEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.f != nil {
		e.f(ev)
	}
}

func (e *eventSink) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.f = nil
}

// move is a request being served.
type move struct {
	s        *Supervisor
	req      node.MoveRequest
	to       *site // nil: home
	progress func(node.MoveEvent)
	report   node.MoveReport
}

// chosen lists the processes that a request means, parents first.
func (s *Supervisor) chosen(req node.MoveRequest) ([]int, error) {
	t := s.ownProcesses()
	var all []int
	add := func(pid int) {
		if !slices.Contains(all, pid) {
			all = append(all, pid)
		}
	}
	if req.All {
		s.mu.RLock()
		for pid := range s.procs {
			add(pid)
		}
		s.mu.RUnlock()
		slices.Sort(all)
	}
	for _, pid := range req.PIDs {
		if s.process(pid) == nil && !s.isNative(t, pid) {
			return nil, fmt.Errorf("process %d is not of this job", pid)
		}
		add(pid)
	}
	if req.Tree || req.All {
		for _, pid := range slices.Clone(all) {
			for _, d := range t.descendants(pid) {
				add(d)
			}
		}
	}
	if req.From != "" {
		all = slices.DeleteFunc(all, func(pid int) bool {
			p := s.process(pid)
			return p == nil || p.getState() != away || p.site().name != req.From
		})
	}
	return all, nil
}

// isNative tells whether a process descends from one of the job's.
func (s *Supervisor) isNative(t processes, pid int) bool {
	for range 1000 {
		st, ok := t.stats[pid]
		if !ok || pid <= 1 {
			return false
		}
		if s.process(pid) != nil {
			return true
		}
		pid = st.PPID
	}
	return false
}

// quietMove is a move that nobody at home has asked for. Its process waits for it.
func (s *Supervisor) quietMove() *move {
	return &move{s: s, progress: func(node.MoveEvent) {}, req: node.MoveRequest{Strategy: string(transfer.Stop)}}
}

// leaveAttempts is how often a family is looked for again that has grown.
const leaveAttempts = 5

// one moves one process, and those that must come along.
func (m *move) one(ctx context.Context, pid int) error {
	s := m.s
	s.moving.Lock()
	defer s.moving.Unlock()
	defer s.dropCopies()
	p := s.process(pid)
	at := (*site)(nil)
	if p != nil && p.getState() != home {
		if err := awaitStart(ctx, p); err != nil {
			return err
		}
		if p.getState() != home { // it may not have been able to leave
			at = p.site()
		}
	}
	switch {
	case at == m.to:
		return nil
	case m.to == nil:
		return s.bring(ctx, m, p, at, "recalled")
	case at == nil:
		err := m.leave(ctx, pid)
		for range leaveAttempts {
			if !s.joined(err) || ctx.Err() != nil {
				break
			}
			err = m.leave(ctx, pid)
		}
		return err
	default:
		return m.across(ctx, p, at)
	}
}

// startLimit bounds the wait for a program to be there.
const startLimit = 10 * time.Second

// awaitStart waits for a program that is just being executed.
func awaitStart(ctx context.Context, p *process) error {
	for end := time.Now().Add(startLimit); p.getState() == starting || p.getState() == leaving; {
		if time.Now().After(end) {
			return errors.New("it is just being started")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// freezeRequest bounds a node's answer to Take; it gives up before.
const freezeRequest = 60 * time.Second

// take has a node stop processes and send their memory. If ctx ends meanwhile
// the node gives that up. With an error the processes named stand still there,
// and are to be thawed.
func (s *Supervisor) take(ctx context.Context, at *site, req protocol.TakeRequest) (*protocol.TakeReply, protocol.ProcRefs, error) {
	defer s.dropWith(ctx, at, req.Move)()
	var reply protocol.TakeReply
	err := at.sess.Request(at.sess.Context(), protocol.Take, req, &reply)
	if err == nil && reply.Unreached != "" {
		return nil, protocol.ProcRefs{}, fmt.Errorf("%w: %s", errUnreached, reply.Unreached)
	}
	if err == nil && reply.Failed != "" {
		err = errors.New(reply.Failed)
	}
	if err == nil {
		err = s.areAt(at, refsOf(reply.Procs))
	}
	switch {
	case err == nil:
		return &reply, refsOf(reply.Procs), nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case at.gone() != nil:
		err = at.gone()
	}
	return nil, protocol.ProcRefs{Procs: reply.Standing}, err
}

var errUnreached = errors.New("the nodes do not reach each other")

// areAt refuses processes that a node hands over and has not got.
func (s *Supervisor) areAt(at *site, refs protocol.ProcRefs) error {
	for _, ref := range refs.Procs {
		p := s.process(ref.PID)
		switch {
		case p == nil || p.gen != ref.Gen:
			return fmt.Errorf("process %d ended meanwhile: %w", ref.PID, unix.ESRCH)
		case p.getState() != away || p.site() != at:
			return fmt.Errorf("node %s hands over process %d, which is not there", at.name, ref.PID)
		}
	}
	return nil
}

// dropWith gives a move up at a node when ctx ends, until it is told not to.
func (s *Supervisor) dropWith(ctx context.Context, at *site, id uint64) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.dropMove(at, id) })
}

// tellNode makes a request that cannot fail but with the session.
func (s *Supervisor) tellNode(at *site, typ string, refs protocol.ProcRefs) {
	ctx, cancel := context.WithTimeout(at.sess.Context(), freezeRequest)
	defer cancel()
	at.out.Flush() // signals that are to be there when a process runs
	if err := at.sess.Request(ctx, typ, refs, &protocol.Empty{}); err != nil {
		s.log.Debug("node not told", "node", at.name, "type", typ, "err", err)
	}
}

// thaw lets processes run on at a node that were to leave it.
func (s *Supervisor) thaw(at *site, refs protocol.ProcRefs) {
	if len(refs.Procs) == 0 {
		return
	}
	s.tellNode(at, protocol.Thaw, refs)
	_ = s.tr.Do(func() { s.resend(refs) }) // ErrClosed: the job has ended
}

// answerTime is how long the session outlives the job's last process at least,
// if that came home: the node is to hear that it did.
const answerTime = 20 * time.Millisecond

// wantHome serves WantHome.
func (s *Supervisor) wantHome(at *site, ctx context.Context, req protocol.WantHomeRequest) (any, error) {
	s.homing.Add(1)
	defer time.AfterFunc(answerTime, s.homing.Done)
	s.moving.Lock()
	defer s.moving.Unlock()
	defer s.dropCopies()
	p := s.process(req.PID)
	if p == nil || p.gen != req.Gen || p.getState() != away || p.site() != at {
		return protocol.Empty{}, nil // it is elsewhere by now, or has ended
	}
	if err := s.bring(ctx, s.quietMove(), p, at, req.Reason); err != nil {
		if s.process(req.PID) != p {
			return protocol.Empty{}, nil // it has ended
		}
		return nil, err
	}
	return protocol.Empty{}, nil
}

// resend sends signals again that a pod has not taken over: it did not listen
// while it handed the process over. Tracer's thread.
func (s *Supervisor) resend(refs protocol.ProcRefs) {
	var ids []uint64
	for id, l := range s.unacked {
		for _, ref := range refs.Procs {
			if l.pid == ref.PID {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		l := s.unacked[id]
		p := s.process(l.pid)
		if p == nil {
			continue
		}
		p.sendSignal(protocol.SignalMessage{
			ID: id, PID: l.pid, TID: l.tid, Gen: p.gen, Directed: l.directed, Info: l.info[:],
			SignalFD: p.signalfd.Load()&signals.Bit(signals.Signo(&l.info)) != 0,
		})
	}
}

// refsOf names the processes of images.
func refsOf(procs []protocol.ProcImage) protocol.ProcRefs {
	var refs protocol.ProcRefs
	for i := range procs {
		refs.Procs = append(refs.Procs, protocol.ProcRef{PID: procs[i].Image.PID, Gen: procs[i].Gen})
	}
	return refs
}

// lastSeq is the largest number of a call of the threads so far.
func (s *Supervisor) lastSeq(procs []protocol.ProcImage) uint64 {
	last := uint64(0)
	for i := range procs {
		for j := range procs[i].Image.Threads {
			if th := s.thread(procs[i].Image.Threads[j].TID); th != nil {
				th.useMu.Lock()
				last = max(last, th.pend.claimed, th.pend.held)
				th.useMu.Unlock()
			}
			if c := procs[i].Image.Threads[j].Call; c != nil {
				last = max(last, c.Seq)
			}
		}
	}
	return last
}

// commit records that processes are at another node now: from here on they run
// there or nowhere. It fails if one of them has ended.
func (s *Supervisor) commit(refs protocol.ProcRefs, to *site) error {
	var err error
	if doErr := s.tr.Do(func() {
		if err = to.gone(); err != nil {
			return
		}
		for _, ref := range refs.Procs {
			if p := s.process(ref.PID); p == nil || p.gen != ref.Gen {
				err = fmt.Errorf("process %d ended meanwhile: %w", ref.PID, unix.ESRCH)
				return
			}
		}
		for _, ref := range refs.Procs {
			p := s.process(ref.PID)
			p.at.Store(to)
			p.moves.Add(1)
			s.traceLog.note(p.pid, "+++ moves to %s +++", to.name)
			s.unkeep(p)
			if p.stopped != p.toldStop {
				typ := protocol.Continue
				if p.stopped {
					typ = protocol.Stop
				}
				p.send(typ, p.ref())
			}
		}
		s.resend(refs)
	}); doErr != nil {
		return doErr
	}
	return err
}
