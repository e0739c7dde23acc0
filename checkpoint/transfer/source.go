package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"homing/checkpoint"
	"homing/internal/linux"
)

// Options are those of one end of a transfer.
type Options struct {
	Rate     int64 // bytes a second that a source may send unasked; 0: no limit
	Compress Compression
	Room     func() error   // whether a destination has room for more; nil: always
	Progress func(Progress) // called from the goroutine that transfers, a few times a second
}

// Progress tells how far a round is.
type Progress struct {
	Round               int
	Pages, Bytes, Total uint64 // bytes on the wire; pages of how many
	Done                bool   // the round is complete
}

// Round is what one round has cost.
type Round struct {
	Pages    uint64 // that are now at the destination, including those of zeros
	Bytes    uint64 // on the wire
	Zero     uint64 // pages of zeros, which were named only
	Duration time.Duration
}

// Source sends the memory of a process. Its methods are called one after the
// other; after an error the connection is of no further use, and a new Source
// on another connection begins anew.
type Source struct {
	conn net.Conn
	mem  *memory
	opt  Options
	pack *packer
	pace pacer

	round int
	// there are the pages that the destination has, sent those of them that it
	// has as they were when the Tracker looked last.
	there     []linux.Range
	sent      []linux.Range
	bandwidth float64 // bytes of memory a second, of the last large round
	lazy      []linux.Range
	free      sync.Pool
}

// NewSource makes the source of a process's memory.
func NewSource(conn net.Conn, pid int, opt Options) *Source {
	return &Source{
		conn: conn, mem: newMemory(pid), opt: opt,
		pack: &packer{mode: opt.Compress, rate: float64(opt.Rate)},
		pace: pacer{rate: float64(opt.Rate)},
		free: sync.Pool{New: func() any { return new(frame) }},
	}
}

// Close gives back what the source holds besides the connection.
func (s *Source) Close() { s.mem.close() }

// Announce describes the mappings of a running process, so that the destination
// can build them before it stands still.
func (s *Source) Announce(ctx context.Context, layout []byte) error {
	_, _, err := s.send(ctx, plan{layout: layout})
	return err
}

// Final says what is to be sent of a stopped process.
type Final struct {
	Image  *checkpoint.Image // its mappings and Pages
	Layout []byte            // for the destination's Body.Layout; nil: it has its mappings
	// Tracker is that of the rounds before; nil: everything is sent.
	Tracker *Tracker
	// Lazy leaves pages of private anonymous memory to be asked for (Serve),
	// but those of Eager: where the threads stand, and what the kernel touches.
	Lazy  bool
	Eager []linux.Range
}

// FinalRound is a Round and what is left for Serve.
type FinalRound struct {
	Round
	Lazy     uint64 // bytes left to Serve
	Declined string // why the destination takes no lazy pages; it has everything
}

// Final sends what the destination lacks of a process that is stopped. When it
// returns, the destination has everything in place but what is left to Serve.
func (s *Source) Final(ctx context.Context, f Final) (FinalRound, error) {
	var none FinalRound
	clean, err := s.clean(f)
	if err != nil {
		return none, err
	}
	var gone, extra []linux.Range
	anon := mapped(f.Image, anonymous)
	if len(s.there) > 0 {
		lost := subtract(s.there, f.Image.Pages)
		gone = intersect(lost, anon)
		// What was written and given up again in a mapped file shows the file.
		extra = intersect(subtract(lost, anon), mapped(f.Image, func(v *checkpoint.VMA) bool { return v.File >= 0 && !v.Shared }))
	}
	p := plan{
		flags: beginFinal, layout: f.Layout, pages: union(subtract(f.Image.Pages, clean), extra), gone: gone,
		kept: clean, hugeable: hugeable(f.Image),
	}
	if f.Lazy {
		p.lazy = subtract(intersect(p.pages, mapped(f.Image, canWait)), sorted(append([]linux.Range(nil), f.Eager...)))
		p.pages = subtract(p.pages, p.lazy)
		p.flags |= beginLazy
	}
	r, declined, err := s.send(ctx, p)
	if err != nil {
		return none, err
	}
	out := FinalRound{Round: r, Declined: declined}
	if f.Lazy && declined == "" {
		s.lazy = p.lazy
		out.Lazy = length(p.lazy)
	}
	return out, nil
}

// clean returns what of the image's pages the destination has as it is.
func (s *Source) clean(f Final) ([]linux.Range, error) {
	if f.Tracker == nil || len(s.sent) == 0 {
		return nil, nil
	}
	clean, err := f.Tracker.clean()
	if err != nil {
		return nil, err
	}
	return intersect(intersect(clean, s.sent), f.Image.Pages), nil
}

func hugeable(im *checkpoint.Image) []linux.Range {
	return mapped(im, func(v *checkpoint.VMA) bool {
		return anonymous(v) && v.Prot&3 == 3 && !v.GrowsDown && v.Flags&linux.VMNoHugePage == 0
	})
}

// plan is what one round is to send.
type plan struct {
	flags    byte
	layout   []byte
	pages    []linux.Range
	lazy     []linux.Range
	gone     []linux.Range
	kept     []linux.Range // not sent, unless the destination has lost them
	hugeable []linux.Range // where huge pages are welcome
	running  bool          // what cannot be read is left out
}

// reply is what a destination says during a round.
type reply struct {
	lost     []linux.Range
	declined string
}

// replies reads what the destination says, until the end of the round.
type replies struct {
	ready  chan reply
	ended  chan error    // its acknowledgement
	failed chan struct{} // closed when there is no use in sending more
}

func readReplies(conn net.Conn) *replies {
	r := &replies{ready: make(chan reply, 1), ended: make(chan error, 1), failed: make(chan struct{})}
	go func() {
		var f frame
		var got reply
		end := func(err error) {
			r.ended <- err
			if err != nil {
				close(r.failed)
			}
		}
		for ready := false; ; {
			if err := f.read(conn, nil); err != nil {
				end(fmt.Errorf("the connection to the destination: %w", noEOF(err)))
				return
			}
			switch {
			case f.typ == frameReady && !ready:
				for _, r := range f.runs {
					got.lost = append(got.lost, r.span())
				}
				if f.code != 0 {
					got.declined = f.text()
				}
				if f.b == 1 {
					got.lost = sorted(got.lost)
					r.ready <- got
					ready = true
				}
			case f.typ == frameAck && f.code != 0:
				end(&RemoteError{f.text()})
				return
			case f.typ == frameAck && ready:
				end(nil)
				return
			default:
				end(malformed("type %d during a round", f.typ))
				return
			}
		}
	}()
	return r
}

// guard makes conn fail when ctx ends; the function it returns must be called.
func guard(ctx context.Context, conn net.Conn) func() bool {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // a connection without deadlines is closed by its owner
}

// cause prefers the reason for which a context ended to its consequence.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// send carries out one round.
func (s *Source) send(ctx context.Context, p plan) (r Round, declined string, err error) {
	defer func() { err = cause(ctx, err) }()
	defer guard(ctx, s.conn)()
	start := time.Now()
	s.round++
	w := &writer{s: s, ctx: ctx, total: (length(p.pages) + length(p.lazy) + length(p.gone)) / pageSize}
	begin := &frame{typ: frameBegin, code: p.flags, a: uint64(s.round)}
	if p.layout != nil {
		if len(p.layout) > maxLayout {
			return r, "", fmt.Errorf("the description of the mappings has %d bytes, more than %d", len(p.layout), maxLayout)
		}
		begin.code |= beginLayout
		copy(begin.room(len(p.layout)), p.layout)
	}
	w.replies = readReplies(s.conn)
	var skipped []linux.Range
	err = func() error {
		if err := w.write(begin); err != nil {
			return err
		}
		var err error
		if skipped, err = s.sendPages(w, p, p.pages); err != nil {
			return err
		}
		var got reply
		select {
		case got = <-w.replies.ready:
		case <-w.replies.failed:
			return nil // reported below
		}
		declined = got.declined
		s.there = subtract(s.there, got.lost)
		if declined != "" {
			p.pages, p.lazy = union(p.pages, p.lazy), nil
			more, err := s.sendPages(w, p, subtract(p.pages, w.asked))
			if err != nil {
				return err
			}
			skipped = union(skipped, more)
		}
		if lost := intersect(got.lost, p.kept); len(lost) > 0 {
			more, err := s.sendPages(w, p, lost)
			if err != nil {
				return err
			}
			skipped = union(skipped, more)
			s.there = union(s.there, lost)
		}
		if err := w.list(frameLazy, runData, p.lazy); err != nil {
			return err
		}
		if err := w.list(framePages, runGone, p.gone); err != nil {
			return err
		}
		return w.write(&frame{typ: frameEnd, a: w.pages, b: uint64(w.sum)})
	}()
	if err != nil && !errors.Is(err, errReplied) {
		s.abort(w, err)
		return r, "", err
	}
	if err := <-w.replies.ended; err != nil {
		return r, "", err
	}
	missing := union(skipped, p.lazy)
	s.sent = subtract(union(subtract(s.sent, p.gone), p.pages), missing)
	s.there = union(subtract(s.there, union(p.gone, p.lazy)), p.pages) // or may be: those skipped, from before
	r = Round{Pages: w.pages - uint64(length(p.lazy)+length(p.gone))/pageSize, Bytes: w.bytes, Zero: w.zero, Duration: time.Since(start)}
	if n := (r.Pages - r.Zero) * pageSize; n >= 4<<20 {
		s.bandwidth = float64(n) / r.Duration.Seconds()
	}
	w.progress(true)
	return r, declined, nil
}

// abort tells the destination why nothing more comes, and lets the reader go.
func (s *Source) abort(w *writer, err error) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second)) // it may not listen any more
	_, _ = s.conn.Write(textFrame(frameAbort, 0, err.Error()).encode())
	_ = s.conn.SetDeadline(time.Unix(1, 0))
	<-w.replies.ended
}

// errReplied: the destination has said that the round has failed.
var errReplied = errors.New("the destination has given up")

// writer writes the frames of one round and counts them.
type writer struct {
	s       *Source
	ctx     context.Context
	replies *replies

	total, pages, zero, bytes uint64
	sum                       uint32
	asked                     []linux.Range // what sendPages was given
	shown                     time.Time
}

func (w *writer) write(f *frame) error {
	b := f.encode()
	for _, r := range f.runs {
		if r.kind != runHuge {
			w.pages += uint64(r.pages)
		}
		if r.kind == runZero {
			w.zero += uint64(r.pages)
		}
	}
	w.sum = w.sum<<1 ^ w.sum>>31 ^ f.sum
	w.bytes += uint64(len(b))
	start := time.Now()
	for len(b) > 0 {
		select {
		case <-w.replies.failed:
			return errReplied
		default:
		}
		n := min(len(b), w.s.pace.piece())
		if err := w.s.pace.wait(w.ctx, n); err != nil {
			return err
		}
		if _, err := w.s.conn.Write(b[:n]); err != nil {
			select {
			case <-w.replies.failed: // it has said why before it hung up
				return errReplied
			case <-time.After(100 * time.Millisecond):
			}
			return fmt.Errorf("send pages: %w", err)
		}
		b = b[n:]
	}
	if f.typ == framePages {
		w.s.pack.wrote(len(f.runs)*runSize+f.n, time.Since(start))
	}
	w.progress(false)
	return nil
}

func (w *writer) progress(done bool) {
	if w.s.opt.Progress == nil {
		return
	}
	if now := time.Now(); done || now.Sub(w.shown) > 100*time.Millisecond {
		w.shown = now
		w.s.opt.Progress(Progress{Round: w.s.round, Pages: w.pages, Bytes: w.bytes, Total: w.total, Done: done})
	}
}

// list writes ranges as runs without payload.
func (w *writer) list(typ, kind byte, ranges []linux.Range) error {
	f := &frame{typ: typ}
	for _, r := range ranges {
		for r.Start < r.End {
			n := min(r.Len()/pageSize, 1<<31)
			f.runs = append(f.runs, run{start: r.Start, pages: uint32(n), kind: kind})
			r.Start += n * pageSize
			if len(f.runs) == maxRuns {
				if err := w.write(f); err != nil {
					return err
				}
				f.runs = f.runs[:0]
			}
		}
	}
	if len(f.runs) == 0 {
		return nil
	}
	return w.write(f)
}

// job is the pages of one frame.
type job struct {
	pieces []linux.Range
	huge   uint64 // an area that begins here, 0: none
}

// jobs cuts ranges into jobs.
type jobs struct {
	mu       sync.Mutex
	left     []linux.Range
	hugeable []linux.Range
	there    []linux.Range
}

func (j *jobs) next() (out job, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	room := uint64(frameBytes)
	for len(j.left) > 0 && room > 0 && len(out.pieces) < maxRuns/4 {
		r := j.left[0]
		n := min(r.Len(), room)
		next := (r.Start + hugeSize - 1) &^ (hugeSize - 1) // the next huge page's worth, if it is there as a whole
		area := linux.Range{Start: next, End: next + hugeSize}
		if area.End <= r.End && contains(j.hugeable, area) && len(overlapping(j.there, area)) == 0 {
			switch {
			case next > r.Start:
				n = min(n, next-r.Start)
			case len(out.pieces) > 0:
				return out, true // it begins a frame
			default:
				out.huge = next
			}
		}
		out.pieces = appendRange(out.pieces, linux.Range{Start: r.Start, End: r.Start + n})
		room -= n
		if j.left[0].Start += n; j.left[0].Start == j.left[0].End {
			j.left = j.left[1:]
		}
	}
	return out, len(out.pieces) > 0
}

// sendPages reads ranges and sends them; several processors read and compress
// while one writes. It returns what could not be read, if that is allowed.
func (s *Source) sendPages(w *writer, p plan, ranges []linux.Range) (skipped []linux.Range, err error) {
	w.asked = union(w.asked, ranges)
	js := &jobs{left: append([]linux.Range(nil), ranges...), hugeable: p.hugeable, there: s.there}
	var mu sync.Mutex
	var skip func(linux.Range) bool
	if p.running {
		skip = func(r linux.Range) bool {
			mu.Lock()
			skipped = append(skipped, r)
			mu.Unlock()
			return true
		}
	}
	if length(ranges) <= small { // not worth a goroutine
		f := s.free.Get().(*frame)
		defer s.free.Put(f)
		for j, ok := js.next(); ok; j, ok = js.next() {
			if err := s.fill(f, j, skip); err != nil {
				return nil, err
			}
			if err := w.write(f); err != nil {
				return nil, err
			}
		}
		return sorted(skipped), nil
	}
	// Each worker reads a frame and writes it itself, while its contents are in
	// its processor's cache; while one writes, the others read.
	var writing sync.Mutex
	var wg sync.WaitGroup
	work := func() {
		f := s.free.Get().(*frame)
		defer s.free.Put(f)
		for j, ok := js.next(); ok; j, ok = js.next() {
			ferr := s.fill(f, j, skip)
			writing.Lock()
			if ferr != nil && err == nil {
				err = ferr
			}
			if err == nil {
				err = w.write(f)
			}
			stop := err != nil
			writing.Unlock()
			if stop {
				return
			}
		}
	}
	for range workers() {
		wg.Go(work)
	}
	wg.Wait()
	return sorted(skipped), err
}

// small is as much memory as one goroutine moves as fast as several.
const small = 1 << 20

// workers is how many goroutines share a round at either end.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 4) }

// fill reads a job's pages into a frame, without those that are all zeros.
func (s *Source) fill(f *frame, j job, skip func(linux.Range) bool) error {
	f.typ, f.runs, f.b = framePages, f.runs[:0], 0
	if j.huge != 0 {
		f.runs = append(f.runs, run{start: j.huge, pages: hugeSize / pageSize, kind: runHuge})
	}
	buf := f.room(int(length(j.pieces)))
	var left []linux.Range
	note := func(r linux.Range) bool {
		left = append(left, r)
		return skip(r)
	}
	if skip == nil {
		note = nil
	}
	if err := s.mem.copy(j.pieces, buf, false, note); err != nil {
		return fmt.Errorf("read %w", err)
	}
	left = sorted(left)
	kept := 0
	for _, r := range j.pieces {
		for at := r.Start; at < r.End; at += pageSize {
			page := buf[:pageSize]
			buf = buf[pageSize:]
			if len(left) > 0 && contains(left, linux.Range{Start: at, End: at + pageSize}) {
				continue
			}
			if isZero(page) {
				f.add(at, runZero)
				continue
			}
			if to := f.data()[kept : kept+pageSize]; &to[0] != &page[0] {
				copy(to, page)
			}
			kept += pageSize
			f.add(at, runData)
		}
	}
	f.n, f.a = kept, uint64(kept)
	s.pack.pack(f)
	return nil
}

// add appends a page to the runs.
func (f *frame) add(at uint64, kind uint8) {
	if n := len(f.runs); n > 0 && f.runs[n-1].kind == kind && f.runs[n-1].span().End == at {
		f.runs[n-1].pages++
		return
	}
	f.runs = append(f.runs, run{start: at, pages: 1, kind: kind})
}
