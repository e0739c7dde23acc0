package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/checkpoint/transfer"
	"homing/internal/carry"
	"homing/internal/fault"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/internal/tracer"
	"homing/kkc"
)

// The connection of a move. Home opens it (MoveOpen): either the peer that
// connects sends processes, or it receives those that Take sends. A node that is
// to send to another one connects to that itself.

// transferring is a move at one of its ends.
type transferring struct {
	id     uint64
	expect *kkc.Expectation
	ctx    context.Context
	cancel context.CancelFunc

	mu   sync.Mutex
	conn net.Conn
	// busy: Arrive is being served; gone: home has given the move up meanwhile.
	busy, gone bool

	// Of the destination.
	arrived chan struct{} // closed when all has come, or err is set
	err     error
	got     []carry.Received
}

// connectLimit bounds how long the other end may take to connect.
const connectLimit = 20 * time.Second

func (p *pod) move(id uint64) *transferring {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.moves[id]
}

func (p *pod) forgetMove(id uint64) *transferring {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.moves[id]
	delete(p.moves, id)
	return m
}

// maxMoves bounds the moves that home has begun and not ended.
const maxMoves = 64

// openMove serves MoveOpen.
func (p *pod) openMove(_ context.Context, req protocol.MoveOpenRequest) (any, error) {
	if req.Receive {
		if err := p.host.admit(1); err != nil {
			return nil, err
		}
		if err := checkpoint.Room(req.Bytes); err != nil {
			return nil, err
		}
	}
	m := &transferring{id: req.Move}
	var err error
	if m.expect, err = p.sess.Expect(req.Peer); err != nil {
		return nil, err
	}
	m.ctx, m.cancel = context.WithCancel(p.sess.Context())
	reply := protocol.MoveOpenReply{Ticket: m.expect.Ticket}
	if req.Receive {
		reply.Fault = p.host.fault()
		m.arrived = make(chan struct{})
	}
	if err := p.addMove(m); err != nil {
		m.close()
		return nil, err
	}
	if req.Receive {
		go p.receive(m)
	}
	return reply, nil
}

func (p *pod) addMove(m *transferring) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.moves == nil:
		return errors.New("the session is over")
	case p.moves[m.id] != nil:
		return errors.New("a move of this number is open")
	case len(p.moves) >= maxMoves:
		return errors.New("too many moves at once")
	}
	p.moves[m.id] = m
	return nil
}

// fault says why processes here cannot run before all their memory has come.
func (h *Host) fault() string {
	s := transfer.Probe()
	switch {
	case s.Fault != nil:
		return s.Fault.Error()
	case !s.FaultDevice && !unprivilegedFaults():
		return "post-copy needs /dev/userfaultfd on the node, or vm.unprivileged_userfaultfd=1"
	}
	return ""
}

// connection waits for the connection of a move that the other end makes.
func (m *transferring) connection(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := m.expect.Accept(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.conn = conn
	m.mu.Unlock()
	return conn, nil
}

// close ends a move's connection.
func (m *transferring) close() {
	m.cancel()
	if m.expect != nil {
		m.expect.Cancel()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		m.conn.Close()
		m.conn = nil
	}
}

// receive takes what comes by a move's connection.
func (p *pod) receive(m *transferring) {
	defer close(m.arrived)
	defer func() {
		if m.err != nil {
			m.close() // the other end is to know, also if home gives no more orders
		}
	}()
	conn, err := m.connection(m.ctx)
	if err == nil {
		err = fault.Point("node.receive.begin", conn)
	}
	if err != nil {
		m.err = err
		return
	}
	objects := checkpoint.Objects{}
	defer objects.Close()
	r := &carry.Receiver{
		Options: transfer.Options{Room: checkpoint.RoomLeft},
		NewBody: func() carry.Body { return &podBody{pod: p, objects: objects} },
	}
	m.got, m.err = r.Receive(m.ctx, conn)
}

// begin tells whether Arrive may be served.
func (m *transferring) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy || m.gone {
		return false
	}
	m.busy = true
	return true
}

// end tells whether home has given the move up while Arrive was being served.
func (m *transferring) end() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	return m.gone
}

// giveUp tells whether Arrive is being served: it sees to the rest.
func (m *transferring) giveUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	return m.busy
}

// arrive serves Arrive.
func (p *pod) arrive(ctx context.Context, req protocol.ArriveRequest) (any, error) {
	for {
		seq := callSeq.Load()
		if seq >= req.Seq || callSeq.CompareAndSwap(seq, req.Seq) {
			break
		}
	}
	m := p.move(req.Move)
	if m == nil || m.arrived == nil || !m.begin() {
		return nil, errors.New("no such move")
	}
	select {
	case <-m.arrived:
	case <-ctx.Done(): // the session is over, see dropMoves
		return nil, ctx.Err()
	}
	err := m.err
	if err == nil {
		err = fault.Point("node.arrive.begin", p.cut())
	}
	if err == nil {
		err = p.finishArrival(m, req.Stopped)
	}
	if err == nil {
		err = fault.Point("node.arrive.done", p.cut())
	}
	p.forgetMove(req.Move)
	if m.end() && err == nil {
		err = errors.New("the move was given up")
	}
	if err != nil {
		p.dropArrival(m)
		return nil, err
	}
	lazy := false
	for i := range m.got {
		lazy = lazy || m.got[i].Puller != nil
	}
	if !lazy {
		m.close()
	}
	return protocol.Empty{}, nil
}

// finishArrival gives the processes that have come their threads.
func (p *pod) finishArrival(m *transferring, stopped []int) error {
	for i := range m.got {
		got := &m.got[i]
		b := got.Body.(*podBody)
		var err error
		if doErr := p.tr.Do(func() {
			if err = p.restoreThreads(b.leader, got.Proc, got.Puller == nil); err != nil {
				return
			}
			for _, pid := range stopped {
				if pid == got.Proc.Image.PID {
					p.standing[got.Proc.Gen] = true
					b.leader.proc.stopped = true
				}
			}
		}); doErr != nil {
			return doErr
		}
		if err != nil {
			return err
		}
		if got.Puller != nil {
			b.leader.proc.pull(p, got.Puller, m)
		}
	}
	return fault.Point("node.arrive.threads", p.cut())
}

// dropArrival ends what has come of a move that has failed.
func (p *pod) dropArrival(m *transferring) {
	for i := range m.got { // before the connection is closed: nothing is lost by that
		if b := m.got[i].Body.(*podBody); b.leader != nil {
			p.leave(b.leader.proc)
		}
		if pl := m.got[i].Puller; pl != nil {
			pl.Stop()
		}
	}
	m.close()
}

// dropMove serves MoveDrop.
func (p *pod) dropMove(_ context.Context, req protocol.MoveRef) (any, error) {
	_ = fault.Point("node.drop", p.cut())
	p.mu.RLock()
	cancel := p.takes[req.Move]
	p.mu.RUnlock()
	if cancel != nil {
		cancel()
	}
	m := p.forgetMove(req.Move)
	if m == nil {
		return protocol.Empty{}, nil
	}
	busy := m.giveUp()
	m.close()
	if m.arrived != nil && !busy {
		<-m.arrived
		p.dropArrival(m)
	}
	return protocol.Empty{}, nil
}

// dropMoves ends all moves: the session is over.
func (p *pod) dropMoves() {
	p.mu.Lock()
	all := p.moves
	p.moves = nil
	p.mu.Unlock()
	for _, m := range all {
		m.close()
		if m.arrived == nil {
			continue
		}
		<-m.arrived
		for i := range m.got {
			if pl := m.got[i].Puller; pl != nil {
				pl.Stop()
			}
		}
	}
}

// podBody is the body of a process on its way here.
type podBody struct {
	pod     *pod
	objects checkpoint.Objects
	leader  *thread
}

func (b *podBody) prepare(img *protocol.ProcImage) (map[int]int, error) {
	p, im := b.pod, &img.Image
	if err := fault.Point("node.receive.body", p.cut()); err != nil {
		return nil, err
	}
	if err := p.acceptable(im); err != nil {
		return nil, err
	}
	if err := im.CheckCPU(); err != nil {
		return nil, err
	}
	files, err := p.filesOf(im)
	if err != nil {
		return nil, err
	}
	if err := b.objects.Make(im); err != nil {
		return nil, err
	}
	for id, fd := range b.objects {
		if n := objectFile(im, id); n >= 0 {
			files[n] = fd
		}
	}
	return files, nil
}

// Build implements carry.Body.
func (b *podBody) Build(img *protocol.ProcImage) (transfer.Placed, error) {
	p, im := b.pod, &img.Image
	files, err := b.prepare(img)
	if err != nil {
		return transfer.Placed{}, err
	}
	if doErr := p.tr.Do(func() {
		if b.leader, err = p.takeBody(im, nil); err != nil {
			return
		}
		pr := b.leader.proc
		pr.gen, pr.cpu = img.Gen, im.CPU
		pr.setArrived(true)
		b.leader.held = true
		b.leader.files, b.leader.added = files, map[int]bool{}
		p.acct.carry(im.PID, img.CPU)
		p.order.Add(1)
		err = p.build(b.leader, im)
	}); doErr != nil {
		return transfer.Placed{}, doErr
	}
	if err != nil {
		return transfer.Placed{}, err
	}
	return transfer.Placed{PID: b.leader.here, Image: im}, nil
}

// Change implements carry.Body.
func (b *podBody) Change(to, built *protocol.ProcImage) (transfer.Placed, error) {
	p, im := b.pod, &to.Image
	if !slices.Equal(im.VDSO, built.Image.VDSO) { // another program: it has executed it meanwhile
		p.leave(b.leader.proc)
		b.leader = nil
		return b.Build(to)
	}
	files, err := b.prepare(to)
	if err != nil {
		return transfer.Placed{}, err
	}
	var fresh []linux.Range
	if doErr := p.tr.Do(func() {
		b.leader.files, b.leader.added = files, map[int]bool{}
		p.acct.carry(im.PID, to.CPU)
		pr := b.leader.proc
		pr.mu.Lock()
		for sig, a := range im.Actions {
			if sig >= 1 && sig <= 64 {
				pr.actions[sig] = a
			}
		}
		pr.mu.Unlock()
		fresh, err = p.rebuild(b.leader, im, &built.Image)
	}); doErr != nil {
		return transfer.Placed{}, doErr
	}
	if err != nil {
		return transfer.Placed{}, err
	}
	placed := transfer.Placed{PID: b.leader.here, Image: im}
	for _, v := range im.VMAs {
		placed.Kept = append(placed.Kept, linux.Range{Start: v.Start, End: v.End}.Without(fresh)...)
	}
	return placed, nil
}

// Userfault implements carry.Body.
func (b *podBody) Userfault() (u transfer.Userfault, err error) {
	if doErr := b.pod.tr.Do(func() { u, err = b.pod.userfault(b.leader, false) }); doErr != nil {
		return u, doErr
	}
	return u, err
}

// Drop implements carry.Body.
func (b *podBody) Drop(ranges []linux.Range) error {
	var calls []tracer.Call
	for _, r := range ranges {
		calls = append(calls, tracer.C(unix.SYS_MADVISE, r.Start, r.Len(), unix.MADV_DONTNEED))
	}
	var err error
	if doErr := b.pod.tr.Do(func() { _, err = b.pod.body().Inject(b.leader.here, calls) }); doErr != nil {
		return doErr
	}
	return err
}

// userfault makes a userfaultfd in a stopped body whose calls are ours. Tracer's
// thread.
func (p *pod) userfault(th *thread, userOnly bool) (u transfer.Userfault, err error) {
	dev := -1
	if !userOnly {
		if fd, err := transfer.OpenDevice(); err == nil {
			defer unix.Close(fd)
			dev = deviceFile
			th.device = fd
		}
	}
	res, err := p.body().Inject(th.here, []tracer.Call{transfer.UserfaultCall(userOnly, dev)})
	if err != nil {
		return u, fmt.Errorf("make a userfaultfd: %w", err)
	}
	pfd, err := unix.PidfdOpen(th.proc.body, 0)
	if err != nil {
		return u, err
	}
	defer unix.Close(pfd)
	fd, err := unix.PidfdGetfd(pfd, int(res[0]), 0)
	if err != nil {
		return u, fmt.Errorf("take the userfaultfd: %w", err)
	}
	if _, err := p.body().Inject(th.here, []tracer.Call{tracer.C(unix.SYS_CLOSE_RANGE, 0, uint64(^uint32(0)), 0)}); err != nil {
		unix.Close(fd)
		return u, err
	}
	return transfer.Userfault{FD: fd, UserOnly: userOnly}, nil
}

// deviceFile is the number under which a body is given /dev/userfaultfd.
const deviceFile = 3

var errPeer = errors.New("cannot reach the other node")

// sending is the connection by which Take sends.
func (p *pod) sending(ctx context.Context, req *protocol.TakeRequest) (*transferring, net.Conn, error) {
	if req.To == nil {
		m := p.forgetMove(req.Move)
		if m == nil || m.arrived != nil {
			return nil, nil, errors.New("no such move")
		}
		conn, err := m.connection(ctx)
		return m, conn, err
	}
	if p.host.cfg.DialPeer == nil {
		return nil, nil, errPeer
	}
	m := &transferring{id: req.Move}
	m.ctx, m.cancel = context.WithCancel(p.sess.Context())
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := p.host.cfg.DialPeer(ctx, req.To.Addr, req.To.Pin, req.To.Ticket)
	if err != nil {
		m.cancel()
		return nil, nil, fmt.Errorf("%w: %w", errPeer, err)
	}
	m.conn = conn
	return m, conn, nil
}

// sketch describes a running process.
func (p *pod) sketch(pr *proc) (*protocol.ProcImage, error) {
	img := &protocol.ProcImage{Gen: pr.gen, CPU: p.used(pr)}
	im := &img.Image
	im.PID, im.CPU, im.Watched = pr.pid, pr.cpu, true
	maps, err := linux.Mappings(pr.body)
	if err != nil {
		return nil, err
	}
	hidden := []linux.Range{{Start: stubAddr, End: stubEnd}}
	if err := im.CaptureMappings(pr.body, maps, hidden, func(m linux.Mapping) (checkpoint.File, bool) {
		return p.origin(m.Dev, m.Ino)
	}); err != nil {
		return nil, err
	}
	return img, im.CaptureFlags(pr.body, nil)
}
