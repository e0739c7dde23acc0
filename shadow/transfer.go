package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/carry"
	"homing/internal/fault"
	"homing/internal/protocol"
	"homing/kkc"
	"homing/node"
)

// The connection of a move carries what package carry says. One end is that of
// the node; the other is ours, or another node's: then the source connects to the
// destination, or, where it cannot reach that, both connect here and home passes
// on what comes.

// connection is an open connection for a move with a node.
type connection struct {
	at    *site
	move  uint64
	conn  net.Conn
	fault string // see protocol.MoveOpenReply
}

// fingerprint is that of our own key.
func (s *Supervisor) fingerprint() (string, error) {
	id, err := kkc.LoadIdentity(s.cfg.StateDir)
	if err != nil {
		return "", err
	}
	return id.Fingerprint, nil
}

// ticket asks a node for a ticket.
func (s *Supervisor) ticket(ctx context.Context, at *site, id uint64, peer string, receive bool, bytes uint64) (*protocol.MoveOpenReply, error) {
	var reply protocol.MoveOpenReply
	req := protocol.MoveOpenRequest{Move: id, Peer: peer, Receive: receive, Bytes: bytes}
	if err := at.sess.Request(ctx, protocol.MoveOpen, req, &reply); err != nil {
		return nil, fmt.Errorf("node %s cannot take it: %w", at.name, err)
	}
	return &reply, nil
}

// weigh asks a node how much memory will move with a process.
func (s *Supervisor) weigh(ctx context.Context, at *site, p *process) (uint64, error) {
	var r protocol.WeighReply
	err := at.sess.Request(ctx, protocol.Weigh, p.ref(), &r)
	return r.Bytes, err
}

// open opens a connection with a node, by which it is to receive so much memory,
// or to send it.
func (s *Supervisor) open(ctx context.Context, at *site, receive bool, bytes uint64) (*connection, error) {
	self, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	c := &connection{at: at, move: s.lastMove.Add(1)}
	t, err := s.ticket(ctx, at, c.move, self, receive, bytes)
	if err != nil {
		return nil, err
	}
	c.fault = t.Fault
	if c.conn, err = at.sess.DialTransfer(ctx, t.Ticket); err != nil {
		c.drop(s)
		return nil, fmt.Errorf("node %s: %w", at.name, err)
	}
	return c, nil
}

// drop gives a move up.
func (c *connection) drop(s *Supervisor) {
	if c.conn != nil {
		c.conn.Close()
	}
	s.dropMove(c.at, c.move)
}

func (s *Supervisor) dropMove(at *site, id uint64) {
	ctx, cancel := context.WithTimeout(at.sess.Context(), freezeRequest)
	defer cancel()
	if err := at.sess.Request(ctx, protocol.MoveDrop, protocol.MoveRef{Move: id}, &protocol.Empty{}); err != nil {
		s.log.Debug("node not told", "node", at.name, "err", err)
	}
}

// settle serves Settle.
func (s *Supervisor) settle(_ *site, _ context.Context, req protocol.SettleRequest) (any, error) {
	return protocol.Empty{}, s.settleShared(imagesOf(req.Procs))
}

// waitArrival waits until a destination has built what was sent to it.
func (s *Supervisor) waitArrival(ctx context.Context, to *site, id uint64, procs []protocol.ProcImage) error {
	req := protocol.ArriveRequest{Move: id, Seq: s.lastSeq(procs)}
	if err := s.tr.Do(func() {
		for i := range procs {
			p := s.process(procs[i].Image.PID)
			if p == nil {
				continue
			}
			if p.toldStop = p.stopped; p.stopped {
				req.Stopped = append(req.Stopped, p.pid)
			}
		}
	}); err != nil {
		return err
	}
	defer s.dropWith(ctx, to, id)()
	if err := to.sess.Request(to.sess.Context(), protocol.Arrive, req, &protocol.Empty{}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e := to.gone(); e != nil {
			return e
		}
		return fmt.Errorf("node %s cannot take it: %w", to.name, err)
	}
	return nil
}

// listener is who wants to know how far a node is with a move.
type listener struct {
	move uint64
	m    *move
	pids []int
}

func (s *Supervisor) onProgress(_ *site, g protocol.ProgressMessage) {
	if l := s.listener.Load(); l != nil && l.move == g.Move {
		l.m.progress(node.MoveEvent{PIDs: l.pids, Phase: "sending", Round: g.Round, Pages: g.Pages, Bytes: g.Bytes, Total: g.Total * checkpoint.PageSize})
	}
}

// note takes up what a transfer has done.
func (m *move) note(strategy, why string, rounds []protocol.Round) {
	m.report.Strategy, m.report.Note = strategy, why
	for _, r := range rounds {
		m.report.Rounds = append(m.report.Rounds, node.MoveRound{Pages: r.Pages, Bytes: r.Bytes, Zero: r.Zero, Duration: time.Duration(r.Duration)})
		m.report.Pages += r.Pages
		m.report.Bytes += r.Bytes
	}
}

// relayed is a connection between two nodes by way of home.
type relayed struct {
	from, to *connection
	done     sync.WaitGroup
}

// relay connects two nodes that cannot reach each other.
func (s *Supervisor) relay(ctx context.Context, from, to *site, bytes uint64) (*relayed, error) {
	r := &relayed{}
	var err error
	if r.to, err = s.open(ctx, to, true, bytes); err != nil {
		return nil, err
	}
	if r.from, err = s.open(ctx, from, false, bytes); err != nil {
		r.to.drop(s)
		return nil, err
	}
	pass := func(dst, src net.Conn) {
		defer r.done.Done()
		buf := make([]byte, 256<<10)
		_, _ = io.CopyBuffer(onlyWriter{dst}, onlyReader{src}, buf) // an end that fails ends the other
		if c, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // likewise
		}
	}
	r.done.Add(2)
	go pass(r.to.conn, r.from.conn)
	go pass(r.from.conn, r.to.conn)
	go func() {
		r.done.Wait()
		r.from.conn.Close()
		r.to.conn.Close()
	}()
	return r, nil
}

func (r *relayed) drop(s *Supervisor) {
	r.from.drop(s)
	r.to.drop(s)
}

type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// across moves a process from one node to another.
func (m *move) across(ctx context.Context, p *process, at *site) error {
	s := m.s
	id := s.lastMove.Add(1)
	bytes, err := s.weigh(ctx, at, p)
	if err != nil {
		return err
	}
	t, err := s.ticket(ctx, m.to, id, at.pin, true, bytes)
	if err != nil {
		return err
	}
	req := m.takeRequest(p, at, "moves to "+m.to.name)
	req.Move, req.Fault = id, t.Fault
	req.To = &protocol.Peer{Addr: m.to.addr, Pin: m.to.pin, Ticket: t.Ticket}
	arriving := id
	s.listener.Store(&listener{id, m, []int{p.pid}})
	defer s.listener.Store(nil)
	if err := fault.Point("home.across.open", m.to.cut()); err != nil {
		s.dropMove(m.to, id)
		return err
	}
	taken, refs, err := s.take(ctx, at, req)
	via := ""
	var path *relayed
	if errors.Is(err, errUnreached) {
		s.dropMove(m.to, id)
		if path, err = s.relay(ctx, at, m.to, bytes); err != nil {
			return err
		}
		via = Home
		req.To, req.Move, arriving = nil, path.from.move, path.to.move
		s.listener.Store(&listener{req.Move, m, []int{p.pid}})
		taken, refs, err = s.take(ctx, at, req)
	}
	drop := func() {
		if path != nil {
			path.drop(s)
			return
		}
		s.dropMove(m.to, id)
	}
	if err != nil {
		drop()
		s.thaw(at, refs)
		return err
	}
	start := time.Now()
	images := imagesOf(taken.Procs)
	err = fault.Point("home.across.taken", m.to.cut())
	if err == nil {
		err = s.waitArrival(ctx, m.to, arriving, taken.Procs)
	}
	if err != nil {
		drop()
		s.sharedIsAt(images, at)
		s.thaw(at, refs)
		return err
	}
	err = fault.Point("home.across.arrived", m.to.cut())
	if err == nil {
		err = s.commit(refs, m.to)
	}
	if err != nil {
		s.tellNode(m.to, protocol.Gone, refs)
		s.sharedIsAt(images, at)
		s.thaw(at, refs)
		return err
	}
	s.sharedIsAt(images, m.to)
	_ = fault.Point("home.across.committed", m.to.cut(), at.cut())
	s.tellNode(m.to, protocol.Run, refs)
	m.report.Freeze = max(m.report.Freeze, time.Since(start)+time.Duration(taken.Frozen))
	s.tellNode(at, protocol.Gone, refs)
	m.note(taken.Strategy, taken.Note, taken.Rounds)
	m.report.From, m.report.Via = at.name, via
	for _, ref := range refs.Procs {
		m.report.PIDs = append(m.report.PIDs, ref.PID)
	}
	return nil
}

// takeRequest asks a node for a process in the way that the move wants.
func (m *move) takeRequest(p *process, at *site, reason string) protocol.TakeRequest {
	return protocol.TakeRequest{
		ProcRef: p.ref(), Reason: reason, Strategy: string(wanted(m.req.Strategy)), Rate: m.req.Rate, Bandwidth: at.bandwidth(),
	}
}

// wanted is a strategy by its name on the command line.
func wanted(name string) transfer.Strategy {
	if name == "auto" {
		return transfer.AutoStrategy
	}
	return transfer.Strategy(name)
}

// bring brings a process, and those that share memory with it, home. moving is held.
func (s *Supervisor) bring(ctx context.Context, m *move, p *process, at *site, reason string) error {
	if err := s.bringSharers(ctx, m, p); err != nil {
		return err
	}
	if p.getState() != away {
		return nil // it came along
	}
	return s.bringOne(ctx, m, p, at, reason)
}

func (s *Supervisor) bringOne(ctx context.Context, m *move, p *process, at *site, reason string) error {
	bytes, err := s.weigh(ctx, at, p)
	if err == nil {
		err = checkpoint.Room(bytes)
	}
	if err != nil {
		return err
	}
	c, err := s.open(ctx, at, false, bytes)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := fault.Point("home.bring.open", c.conn); err != nil {
		c.drop(s)
		return err
	}
	home := &homecoming{s: s, at: at, ctx: ctx, reason: reason, objects: checkpoint.Objects{}}
	defer home.objects.Close()
	r := &carry.Receiver{NewBody: home.newBody, Options: transfer.Options{Room: checkpoint.RoomLeft}}
	received := make(chan error, 1)
	rctx, cancel := context.WithCancel(at.sess.Context())
	defer cancel()
	go func() {
		_, err := r.Receive(rctx, c.conn)
		received <- err
	}()
	req := m.takeRequest(p, at, reason)
	req.Move, req.Fault = c.move, faultHome
	s.listener.Store(&listener{c.move, m, []int{p.pid}})
	defer s.listener.Store(nil)
	taken, refs, takeErr := s.take(ctx, at, req)
	if takeErr != nil {
		c.drop(s)
	}
	err = <-received
	if takeErr != nil { // says more
		err = takeErr
	}
	start := time.Now()
	if err == nil {
		err = fault.Point("home.bring.taken")
	}
	if err == nil {
		err = home.finish()
	}
	if err != nil {
		home.undo()
		s.thaw(at, refs)
		return err
	}
	m.report.Freeze = max(m.report.Freeze, time.Since(start)+time.Duration(taken.Frozen))
	_ = fault.Point("home.bring.done", at.cut())
	s.tellNode(at, protocol.Gone, refs)
	at.noteBandwidth(taken.Bandwidth)
	m.note(taken.Strategy, taken.Note, taken.Rounds)
	m.report.From = at.name
	for _, ref := range refs.Procs {
		m.report.PIDs = append(m.report.PIDs, ref.PID)
	}
	return nil
}

// faultHome is why memory does not follow a process that has come home.
const faultHome = "a process at home must not depend on another machine"

// leave moves a process at home, and those that share memory with it, to a node.
func (m *move) leave(ctx context.Context, pid int) error {
	s := m.s
	pids, err := s.homeFamily(pid)
	if err != nil {
		return err
	}
	for _, member := range pids {
		err := movable(member)
		if err == nil {
			err = awaitVfork(ctx, member)
		}
		if err != nil && (member == pid || gone(member, err) != unix.ESRCH) {
			return err
		}
	}
	bytes := uint64(0)
	for _, pid := range pids {
		bytes += checkpoint.PrivateBytes(pid)
	}
	c, err := s.open(ctx, m.to, true, bytes)
	if err != nil {
		return err
	}
	if err := fault.Point("home.leave.open", c.conn, m.to.cut()); err != nil {
		c.drop(s)
		return err
	}
	d := &departure{s: s, pids: pids}
	defer s.shared.guard.settled()
	send := &carry.Sender{
		Want: wanted(m.req.Strategy), Ahead: true, Alone: len(pids) == 1 && !sharesFiles(pid), PID: pid,
		Options: transfer.Options{Rate: m.req.Rate, Progress: func(p transfer.Progress) {
			m.progress(node.MoveEvent{PIDs: pids, Phase: "sending", Round: p.Round, Pages: p.Pages, Bytes: p.Bytes, Total: p.Total * checkpoint.PageSize})
		}},
		Conditions: transfer.Conditions{Bytes: checkpoint.PrivateBytes(pid), Bandwidth: m.to.bandwidth(), Fault: because(c.fault)},
		Userfault: func() (transfer.Userfault, error) {
			u, err := s.userfaultIn(pid)
			d.watched = err == nil
			return u, err
		},
		Sketch: func() (*protocol.ProcImage, error) { return s.sketch(pid) },
		Freeze: d.freeze,
	}
	if send.Conditions.Track == nil {
		send.Conditions.Track = transfer.Probe().Track
	}
	sent, err := send.Send(ctx, c.conn)
	if err == nil {
		err = fault.Point("home.leave.sent", c.conn, m.to.cut())
	}
	if err == nil {
		err = s.waitArrival(ctx, m.to, c.move, d.procs())
	}
	arrived := err == nil
	if err == nil {
		err = fault.Point("home.leave.arrived", c.conn, m.to.cut())
	}
	if err == nil {
		err = d.commit(m.to, sent.Serve != nil)
	}
	if err != nil {
		if arrived { // before the connection is closed: nobody misses what would have come
			s.tellNode(m.to, protocol.Gone, d.refs())
		}
		c.drop(s)
		d.undo()
		s.sharedStays()
		return gone(pid, err)
	}
	s.sharedLeft()
	refs := d.refs()
	_ = fault.Point("home.leave.committed", c.conn, m.to.cut())
	s.tellNode(m.to, protocol.Run, refs)
	m.report.Freeze = max(m.report.Freeze, time.Since(d.began))
	m.to.noteBandwidth(sent.Bandwidth)
	if sent.Serve == nil {
		c.conn.Close()
	} else {
		d.serve(sent, c)
	}
	d.release(sent.Serve != nil)
	m.note(string(sent.Strategy), sent.Note, protocol.RoundsOf(sent.Rounds))
	m.report.From = Home
	for _, ref := range refs.Procs {
		m.report.PIDs = append(m.report.PIDs, ref.PID)
	}
	return nil
}

// vforkLimit bounds the wait for a vfork child to execute a program.
const vforkLimit = 5 * time.Second

// awaitVfork waits until nobody shares a process's memory.
func awaitVfork(ctx context.Context, pid int) error {
	for end := time.Now().Add(vforkLimit); sharesMemory(pid); {
		if time.Now().After(end) {
			return errVfork
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func because(why string) error {
	if why == "" {
		return nil
	}
	return errors.New(why)
}
