package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/internal/fault"
	"homing/internal/linux"
)

// ErrStopped is what Wait returns after Stop.
var ErrStopped = errors.New("the process ended before all its memory had come")

// Puller completes the memory of a process that runs already. A goroutine for
// each userfaultfd answers events, one takes what the source sends.
//
// The caller must keep the process from what userfaultfd cannot follow: it may
// be captured or moved only after Finish, and fork only then unless Forks is
// true. Accesses to its memory by /proc/PID/mem or ptrace fail where pages are
// missing; call Need first. process_vm_readv and _writev wait by themselves.
type Puller struct {
	conn  net.Conn
	pid   int
	un    *unpacker
	x     *pageIndex
	forks bool
	stopp [2]int // a pipe: closed at its writing end to end the readers of events

	wmu sync.Mutex // one frame at a time
	// mu guards what follows and is held from the decision to fill a page until
	// it is filled, and while events are read: between the two the process can
	// not give up a page, see space.
	mu     sync.Mutex
	moved  *sync.Cond // a page that somebody Needs has come
	needed int
	spaces []*space
	asked  bitset
	last   uint64 // page of the latest fault
	ahead  uint64 // pages to ask for with it
	taken  uint64 // bytes of unasked pages
	told   uint64
	hurry  bool
	stops  bool
	ending bool

	events sync.WaitGroup
	done   chan struct{}
	err    error
}

// missingFeatures initialises a userfaultfd with the events we need; forks tells
// whether it will report children, which takes CAP_SYS_PTRACE.
func missingFeatures(fd int) (forks bool, err error) {
	const need = linux.UserfaultEventRemap | linux.UserfaultEventRemove | linux.UserfaultEventUnmap
	if _, err = linux.UserfaultHandshake(fd, need|linux.UserfaultEventFork); err == nil {
		return true, nil
	}
	if _, err = linux.UserfaultHandshake(fd, need); err != nil {
		return false, &UnsupportedError{What: "post-copy", Need: "a userfaultfd with events (CONFIG_USERFAULTFD)", Err: err}
	}
	return false, nil
}

// spans returns those ranges of where in which pages are missing. Whole mappings
// are registered: a program may move what is one mapping to it (mremap), and not
// what is two.
func spans(missing, where []linux.Range) []linux.Range {
	var out []linux.Range
	for _, w := range where {
		if len(overlapping(missing, w)) > 0 {
			out = append(out, w)
		}
	}
	return out
}

func newPuller(d *Destination, r *arriving) (*Puller, error) {
	p := &Puller{conn: d.conn, pid: d.body.PID, un: &d.un, forks: r.forks, ahead: 16, done: make(chan struct{})}
	fd := r.fault.FD
	p.x = newPageIndex(r.lazy)
	p.asked = newBitset(p.x.total)
	p.moved = sync.NewCond(&p.mu)
	for _, s := range spans(r.lazy, d.anon) {
		if err := linux.UserfaultRegister(fd, s, linux.UserfaultMissing); err != nil {
			closeFD(fd)
			return nil, fmt.Errorf("register the memory %#x-%#x of process %d with userfaultfd: %w", s.Start, s.End, p.pid, err)
		}
	}
	if err := unix.Pipe2(p.stopp[:], unix.O_CLOEXEC); err != nil {
		closeFD(fd)
		return nil, err
	}
	p.mu.Lock()
	p.add(newSpace(fd, p.x))
	p.mu.Unlock()
	return p, nil
}

// add starts to answer the events of a space.
func (p *Puller) add(s *space) {
	p.spaces = append(p.spaces, s)
	p.events.Go(func() { p.answer(s) })
}

// begin starts to take what the source sends.
func (p *Puller) begin() { go p.run() }

// run takes pages until all are here.
func (p *Puller) run() {
	var f frame
	for {
		err := f.read(p.conn, p.un)
		switch {
		case err != nil:
			err = fmt.Errorf("the connection to the source: %w", noEOF(err))
		case f.typ == frameEnd:
			p.end(nil)
			return
		default:
			err = p.take(&f)
		}
		if err != nil {
			p.end(err)
			return
		}
	}
}

func (p *Puller) take(f *frame) error {
	switch f.typ {
	case framePages:
	case frameAbort:
		return &RemoteError{f.text()}
	default:
		return malformed("type %d while pages come", f.typ)
	}
	if err := fault.Point("pull.pages", p.conn); err != nil {
		return err
	}
	data := f.data()
	for _, r := range f.runs {
		s := r.span()
		var page []byte
		switch r.kind {
		case runData:
			page, data = data[:s.Len()], data[s.Len():]
		case runZero:
		default:
			return malformed("kind %d while pages come", r.kind)
		}
		if !contains(p.x.ranges, s) {
			return malformed("pages at %#x-%#x, which are not missing", s.Start, s.End)
		}
		if err := p.fill(s, page); err != nil {
			return err
		}
	}
	if f.b != 1 {
		return nil
	}
	p.taken += uint64(f.wire)
	if p.taken-p.told < 128<<10 {
		return nil
	}
	p.told = p.taken
	return p.say(&frame{typ: frameGot, a: p.taken})
}

// fill puts a run into place in every space.
func (p *Puller) fill(r linux.Range, data []byte) error {
	for wait := time.Duration(0); ; wait = min(wait+20*time.Microsecond, time.Millisecond) {
		p.mu.Lock()
		if p.stops {
			p.mu.Unlock()
			return ErrStopped
		}
		again, gone := false, true
		for _, s := range p.spaces {
			switch err := s.fill(r, data, p.asked); {
			case errors.Is(err, errAgain):
				again = true
			case err != nil:
				p.mu.Unlock()
				return fmt.Errorf("fill memory %#x-%#x of process %d: %w", r.Start, r.End, p.pid, err)
			}
			gone = gone && s.gone
		}
		if p.needed > 0 {
			p.moved.Broadcast()
		}
		p.mu.Unlock()
		switch {
		case gone:
			return ErrStopped
		case !again:
			return nil
		}
		time.Sleep(wait) // for the reader of events, who holds the lock
	}
}

func (p *Puller) say(f *frame) error {
	p.wmu.Lock()
	defer p.wmu.Unlock()
	if _, err := p.conn.Write(f.encode()); err != nil {
		return fmt.Errorf("the connection to the source: %w", err)
	}
	return nil
}

// end brings the Puller to its end: in success, all pages are here.
func (p *Puller) end(err error) {
	p.mu.Lock()
	left := uint64(0)
	gone := true
	for _, s := range p.spaces {
		left += s.left
		gone = gone && s.gone
	}
	switch {
	case p.stops || gone:
		err = ErrStopped
	case err == nil && left > 0:
		err = malformed("the end, with %d pages missing", left)
	}
	if err != nil && !errors.Is(err, ErrStopped) {
		err = &LostError{PID: p.pid, Missing: left * pageSize, Err: err}
	}
	p.err, p.ending = err, true
	p.moved.Broadcast()
	p.mu.Unlock()
	var lost *LostError
	if !errors.As(err, &lost) {
		p.release()
		f := &frame{typ: frameDone}
		if err != nil {
			f.code = 1
			_ = p.conn.SetDeadline(time.Now().Add(time.Second)) // the source may not listen
		}
		_ = p.say(f) // a source that does not hear it sees the connection end
	}
	close(p.done)
}

// release ends the registrations. All pages are here, or nobody needs them.
func (p *Puller) release() {
	p.mu.Lock()
	w := p.stopp[1]
	p.stopp[1] = -1
	p.mu.Unlock()
	if w < 0 {
		return
	}
	closeFD(w)
	p.events.Wait()
	closeFD(p.stopp[0])
	for _, s := range p.spaces {
		closeFD(s.fd)
	}
}

// Wait waits until everything is here: then the process is like any other. A
// *LostError means that it is not to be completed; the threads that wait for
// missing pages do so until the process is killed, after which Stop must be called.
func (p *Puller) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when Wait would return.
func (p *Puller) Done() <-chan struct{} { return p.done }

// Missing returns how many bytes have yet to come.
func (p *Puller) Missing() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spaces[0].left * pageSize
}

// Forks tells whether the process may fork while pages are missing.
func (p *Puller) Forks() bool { return p.forks }

// Finish fetches what is missing without regard to rates, and waits for it.
func (p *Puller) Finish(ctx context.Context) error {
	p.mu.Lock()
	first := !p.hurry && !p.ending
	p.hurry = true
	p.mu.Unlock()
	if first {
		_ = p.say(&frame{typ: frameHurry}) // Wait tells of a broken connection
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stop ends the work for a process that has ended, or has executed another
// program. The connection is of no use afterwards.
func (p *Puller) Stop() {
	p.mu.Lock()
	started := p.stops || p.ending
	p.stops = true
	p.moved.Broadcast()
	p.mu.Unlock()
	if !started {
		_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // run sees it
	}
	p.release()
}

// Need waits until the n bytes at addr are here.
func (p *Puller) Need(ctx context.Context, addr, n uint64) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.moved.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.spaces[0]
	p.needed++
	defer func() { p.needed-- }()
	for at := addr &^ (pageSize - 1); at < addr+n; at += pageSize {
		for {
			i, ok := s.missing(at)
			if !ok {
				break
			}
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case p.stops, p.ending:
				return fmt.Errorf("memory %#x of process %d has not come: %w", at, p.pid, ErrStopped)
			}
			if w := p.want(nil, i); w != nil {
				p.mu.Unlock()
				err := p.say(&frame{typ: frameWant, runs: w})
				p.mu.Lock()
				if err != nil {
					return err
				}
				continue
			}
			p.moved.Wait()
		}
	}
	return nil
}

// answer reads the events of a space until the end.
func (p *Puller) answer(s *space) {
	var buf [16 * linux.UserfaultMsgSize]byte
	for {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(p.stopp[0]), Events: unix.POLLIN}}
		timeout := -1
		p.mu.Lock()
		if len(s.again) > 0 {
			timeout = 1
		}
		p.mu.Unlock()
		if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		p.mu.Lock()
		n, err := unix.Read(s.fd, buf[:])
		if err != nil {
			n = 0
		}
		var runs []run
		for b := buf[:n]; len(b) >= linux.UserfaultMsgSize; b = b[linux.UserfaultMsgSize:] {
			runs = p.event(s, linux.ParseUserfaultMsg(b), runs)
		}
		again := s.again
		s.again = nil
		for _, at := range again {
			runs = p.fault(s, at, runs)
		}
		p.mu.Unlock()
		if len(runs) > 0 {
			_ = p.say(&frame{typ: frameWant, runs: runs}) // run sees a broken connection
		}
	}
}

func (p *Puller) event(s *space, m linux.UserfaultMsg, runs []run) []run {
	switch m.Event {
	case linux.UserfaultPagefault:
		return p.fault(s, m.Address&^(pageSize-1), runs)
	case linux.UserfaultFork:
		p.add(s.fork(m.FD))
	case linux.UserfaultRemap:
		s.move(m.From, m.To, m.Len)
	case linux.UserfaultRemove, linux.UserfaultUnmap:
		s.forget(linux.Range{Start: m.Start, End: m.End})
	}
	return runs
}

// fault answers a thread that waits for a page, or appends what is to be asked.
func (p *Puller) fault(s *space, at uint64, runs []run) []run {
	if i, ok := s.missing(at); ok {
		return p.want(runs, i)
	}
	// Never written, given up, or just filled.
	if err := s.zeropage(at); err != nil {
		s.again = append(s.again, at)
	}
	return runs
}

// Pages that are asked for with one that a thread waits for.
const leastAhead, mostAhead = 8, 64

// want appends page i and, the more sequential faults are, its neighbours.
func (p *Puller) want(runs []run, i uint64) []run {
	if p.asked.has(i) || len(runs) > maxRuns-3 {
		return runs
	}
	back := uint64(0)
	switch {
	case i > p.last && i <= p.last+2*p.ahead:
		p.ahead = min(p.ahead*2, mostAhead)
	case i < p.last && i+2*p.ahead >= p.last:
		p.ahead = min(p.ahead*2, mostAhead)
		back = p.ahead * 3 / 4
	default:
		p.ahead = max(p.ahead/2, leastAhead)
		back = p.ahead / 4
	}
	p.last = i
	runs = p.ask(runs, i, 1, wantNow)
	runs = p.ask(runs, i+1, p.ahead, wantSoon)
	if back = min(back, i); back > 0 {
		runs = p.ask(runs, i-back, back, wantSoon)
	}
	return runs
}

// ask appends a run of those of n pages from i that are adjacent to the first
// and were not asked for.
func (p *Puller) ask(runs []run, i, n uint64, kind uint8) []run {
	i, ok := p.asked.nextClear(i, min(i+n, p.x.total))
	if !ok {
		return runs
	}
	r := p.x.span(i, n)
	r.End = min(r.End, r.Start+n*pageSize)
	k := uint64(0)
	for ; k < r.Len()/pageSize && !p.asked.has(i+k); k++ {
		p.asked.set(i + k)
	}
	return append(runs, run{start: r.Start, pages: uint32(k), kind: kind})
}
