package shadow

import (
	"context"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/protocol"
	"homing/kkc"
	"homing/signals"
	"homing/syscallfwd"
)

// A call and its thread may part: the guest moves while its call is pending
// here. Numbers of a thread's calls only grow, so each call is begun once,
// whatever arrives twice or late:
//
//   - A call that is new is begun and claims its number.
//   - Before a guest is taken out of a call, its node asks that the answer be
//     kept (Hold). It is kept unless it is on its way already.
//   - At its new place the guest makes the call again with the same number and
//     CallAttach: it gets the kept answer, now or when there is one.

// pending is what is known of a thread's calls. Guarded by thread.useMu.
type pending struct {
	claimed  uint64        // the last call begun
	answered uint64        // the last call whose answer went to its lane
	held     uint64        // the call whose answer is kept
	ready    chan struct{} // closed when that answer is there
	kept     *keptReply
	attached chan struct{} // closed to send away who waits for it
	seen     bool          // the guest has attached since the answer is kept
}

// keptReply is an answer without a place to go to.
type keptReply struct {
	reply syscallfwd.Reply
	out   syscallfwd.Out // of a bulk reply: where in the slot its data lie
}

// fate says what is to be done with a call that has arrived.
type fate int

const (
	begin  fate = iota
	attach      // it has been begun, before its thread moved
	drop        // likewise, and its thread is elsewhere
)

// claim decides a call's fate.
func (t *thread) claim(call *syscallfwd.Call) fate {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	again := call.Flags&protocol.CallAttach != 0
	p := &t.pend
	p.seen = p.seen || again
	switch {
	case call.Seq > p.claimed:
		p.claimed = call.Seq
		if again {
			p.release()
		}
		return begin
	case call.Seq == p.claimed && again:
		if p.attached != nil {
			close(p.attached)
		}
		p.attached = make(chan struct{})
		return attach
	}
	return drop
}

// release ends the keeping of an answer.
func (p *pending) release() {
	p.held, p.ready, p.kept, p.attached = 0, nil, nil, nil
}

// finish keeps the answer to a call if that is wanted, and tells whether it did;
// else it is to be sent.
func (t *thread) finish(call *syscallfwd.Call, reply *syscallfwd.Reply) bool {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	p := &t.pend
	if p.held != call.Seq || call.Seq == 0 {
		p.answered = call.Seq
		return false
	}
	p.kept = &keptReply{reply: *reply}
	p.kept.reply.Outs = append([]byte(nil), reply.Outs...)
	if len(call.Outs) > 0 {
		p.kept.out = call.Outs[0]
	}
	close(p.ready)
	return true
}

// beginAgain is told that a thread does not come home after all. If its call was
// given up for that, without an effect, it is begun anew when the guest attaches
// to it; else its answer is kept on.
func (t *thread) beginAgain(seq uint64, outcome *syscallfwd.Reply) {
	if outcome == nil || outcome.Flags != 0 || !signals.IsRestart(outcome.Ret) && outcome.Ret != -int64(unix.EINTR) {
		return
	}
	t.useMu.Lock()
	defer t.useMu.Unlock()
	if p := &t.pend; p.held == seq && p.claimed == seq {
		p.claimed, p.ready, p.kept = seq-1, make(chan struct{}), nil
		t.early.CompareAndSwap(seq, 0)
	}
}

// hold serves Hold.
func (s *Supervisor) hold(_ *site, ctx context.Context, req protocol.HoldRequest) (any, error) {
	r := protocol.HoldReply{Answered: make([]bool, len(req.Calls))}
	for i, c := range req.Calls {
		th := s.thread(c.TID)
		if th == nil {
			continue // it has ended; its node is about to hear that
		}
		if c.Attach {
			th.awaitAttach(ctx, c.Seq)
		}
		r.Answered[i] = !th.keep(c.Seq)
	}
	return r, nil
}

// attachLimit bounds the wait for a call that is on its way.
const attachLimit = 2 * time.Second

// awaitAttach waits for a guest that attaches to a call, and is to be stopped
// again: if it came after that, it would get the answer at a place where it is no
// more.
func (t *thread) awaitAttach(ctx context.Context, seq uint64) {
	for end := time.Now().Add(attachLimit); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Microsecond) {
		t.useMu.Lock()
		came := t.pend.seen || t.pend.held != seq
		t.useMu.Unlock()
		if came {
			return
		}
	}
}

// keep has the answer to a call kept; false means that it is on its way.
func (t *thread) keep(seq uint64) bool {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	p := &t.pend
	if p.answered == seq {
		return false
	}
	if p.attached != nil { // who waits for it is at the old place
		close(p.attached)
		p.attached = nil
	}
	p.seen = false
	if p.held != seq {
		p.held, p.ready, p.kept = seq, make(chan struct{}), nil
	}
	return true
}

// serveAttached hands the answer to a call over at the thread's new place.
func (s *Supervisor) serveAttached(at *site, lane *kkc.Lane, th *thread, call *syscallfwd.Call, out []byte) ([]byte, error) {
	th.useMu.Lock()
	p := &th.pend
	away, ready := p.attached, p.ready
	if p.held != call.Seq || away == nil {
		th.useMu.Unlock()
		return out, nil // it has been answered, or its thread is on its way again
	}
	th.useMu.Unlock()
	select {
	case <-ready:
	case <-away:
		return out, nil
	case <-at.sess.Done():
		return out, at.sess.Err()
	}
	th.useMu.Lock()
	if p.attached != away {
		th.useMu.Unlock()
		return out, nil
	}
	reply := p.kept.reply
	p.release()
	p.answered = call.Seq
	th.useMu.Unlock()
	if reply.Flags&protocol.ReplyBulk != 0 {
		reply.Outs = binary.LittleEndian.AppendUint64(nil, at.sess.NextBulkID())
	}
	return s.send(at, lane, th, call, &reply, out)
}

// send sends an answer, and what it announces, over a lane.
func (s *Supervisor) send(at *site, lane *kkc.Lane, th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply, out []byte) ([]byte, error) {
	reply.Signal = 0
	if th != nil {
		reply.Signal = th.proc.signalled(at)
	}
	out = reply.AppendBinary(out[:0])
	if err := lane.WriteFrame(out); err != nil {
		return out, err
	}
	if reply.Flags&protocol.ReplyBulk != 0 {
		return out, s.sendSlot(at, th, call, reply)
	}
	return out, nil
}

// outcomeLimit bounds the wait for a call that is given up.
const outcomeLimit = 10 * time.Second

// outcome ends the pending call of a thread that comes home and returns its
// answer, which is kept on. Data that would have gone over the bulk connection
// are part of it.
func (s *Supervisor) outcome(ctx context.Context, th *thread, seq uint64) (*syscallfwd.Reply, error) {
	th.useMu.Lock()
	p := &th.pend
	if p.claimed < seq { // its node was faster than the call itself
		p.claimed = seq
		th.useMu.Unlock()
		return &syscallfwd.Reply{Seq: seq, Ret: -signals.ERESTARTNOINTR}, nil
	}
	if p.held != seq {
		th.useMu.Unlock()
		return nil, errAnswered
	}
	if p.attached != nil {
		close(p.attached)
		p.attached = nil
	}
	ready := p.ready
	th.useMu.Unlock()
	s.abandon(protocol.AbandonMessage{TID: th.tid, Seq: seq})
	limit := time.NewTimer(outcomeLimit)
	defer limit.Stop()
	select {
	case <-ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-limit.C:
		return nil, errStuck
	}
	th.useMu.Lock()
	defer th.useMu.Unlock()
	k := p.kept
	if k == nil {
		return nil, errAnswered
	}
	r := k.reply
	if r.Flags&protocol.ReplyBulk != 0 {
		data := s.arena.data(th.slot)[k.out.Off : uint64(k.out.Off)+uint64(r.Ret)]
		r.Flags &^= protocol.ReplyBulk
		r.Outs = append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...)
	}
	return &r, nil
}
