package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"homing/checkpoint"
	"homing/internal/fault"
	"homing/internal/linux"
)

// Body is the process that a Destination fills, stopped, with its mappings as
// checkpoint.RestoreMemory leaves them: what was never written is fresh.
type Body struct {
	PID   int
	Image *checkpoint.Image // its mappings; nil if Layout makes them
	// Layout makes the mappings that the source describes, and the process if
	// there is none yet; in later rounds it changes what is different. May be nil.
	Layout func(layout []byte) (Placed, error)
	// Userfault makes a userfaultfd in the body, see UserfaultCall, for pages
	// that come later. nil, or an error: everything comes at once.
	Userfault func() (Userfault, error)
	// Drop makes ranges of the body fresh (madvise MADV_DONTNEED, injected).
	// nil: zeros are written, and no pages come later that had come before.
	Drop func([]linux.Range) error
}

// Placed says what Layout did.
type Placed struct {
	PID   int
	Image *checkpoint.Image
	Kept  []linux.Range // whose contents from before the call are still there
}

// Userfault is a userfaultfd of another process, not yet initialised.
type Userfault struct {
	FD       int  // in our table, O_NONBLOCK; taken over
	UserOnly bool // made with UFFD_USER_MODE_ONLY
}

// Arrival is what has come.
type Arrival struct {
	Rounds []Round
	// Puller completes the process's memory while it runs; nil: it is complete.
	// Its Wait must be called.
	Puller *Puller
}

// Destination receives the memory of a process.
type Destination struct {
	conn net.Conn
	body Body
	opt  Options
	mem  *memory
	un   unpacker

	received []linux.Range // pages that came, as data or zeros
	looked   uint64        // at how many bytes of this round Room was asked
	all      []linux.Range // what is mapped
	anon     []linux.Range // what is mapped and fresh where nothing was received

	free sync.Pool
}

// NewDestination makes the destination of a process's memory.
func NewDestination(conn net.Conn, body Body, opt Options) *Destination {
	d := &Destination{conn: conn, body: body, opt: opt, mem: newMemory(body.PID), free: sync.Pool{New: func() any { return new(frame) }}}
	d.placed(body.PID, body.Image)
	return d
}

// Close gives back what a destination holds whose Receive was not called.
func (d *Destination) Close() { d.mem.close() }

func (d *Destination) placed(pid int, im *checkpoint.Image) {
	if pid != d.mem.pid {
		d.mem.close()
		d.mem = newMemory(pid)
	}
	d.body.PID, d.body.Image = pid, im
	if im != nil {
		d.all, d.anon = mapped(im, nil), mapped(im, anonymous)
	}
}

// roomStep is how many bytes may come before Room is asked again.
const roomStep = 8 << 20

// arriving is one round on its way.
type arriving struct {
	Round
	start time.Time
	flags byte
	total uint64 // pages that are named, of all kinds
	sum   uint32
	pages []linux.Range // that came
	gone  []linux.Range
	lazy  []linux.Range
	fault *Userfault
	forks bool // it reports children
}

// Receive takes rounds up to and including the final one. When it returns
// without an error the source has been told that everything is in place; what is
// missing is the Arrival's Puller's business, which is at work already.
func (d *Destination) Receive(ctx context.Context) (a Arrival, err error) {
	release := guard(ctx, d.conn)
	defer func() {
		d.mem.close()
		if err != nil {
			d.refuse(err)
			err = cause(ctx, err)
		}
		release()
	}()
	for n := uint64(1); ; n++ {
		r := &arriving{}
		if err := d.round(r, n); err != nil {
			if r.fault != nil {
				closeFD(r.fault.FD)
			}
			return a, err
		}
		a.Rounds = append(a.Rounds, r.Round)
		if r.flags&beginFinal == 0 {
			continue
		}
		if r.fault != nil && len(r.lazy) == 0 { // there was nothing to ask for
			closeFD(r.fault.FD)
			r.fault = nil
		}
		if r.fault != nil {
			if a.Puller, err = newPuller(d, r); err != nil {
				return a, err
			}
		}
		if err := d.say(&frame{typ: frameAck}); err != nil {
			if a.Puller != nil {
				a.Puller.Stop()
				_ = a.Puller.Wait() // it is stopped
			}
			return Arrival{}, err
		}
		if a.Puller != nil {
			a.Puller.begin()
		}
		return a, nil
	}
}

func (d *Destination) say(f *frame) error {
	if _, err := d.conn.Write(f.encode()); err != nil {
		return fmt.Errorf("the connection to the source: %w", err)
	}
	return nil
}

// refuse tells the source why its pages are of no use, and takes what it has
// sent until it has understood: else it might hear of a broken connection only.
func (d *Destination) refuse(err error) {
	var remote *RemoteError
	if errors.As(err, &remote) {
		return // it knows
	}
	_ = d.conn.SetDeadline(time.Now().Add(time.Second))
	if d.say(textFrame(frameAck, 1, err.Error())) == nil {
		_, _ = io.Copy(io.Discard, d.conn) // until it hangs up
	}
}

// round takes one round. Whoever has read a frame of pages fills them in itself,
// while they are in its processor's cache, and another reads the next.
func (d *Destination) round(r *arriving, number uint64) error {
	var mu sync.Mutex // held to read: guards r, and what follows
	var end *frame
	var err error
	var wg sync.WaitGroup
	var work func()
	alone := true
	work = func() {
		f := d.free.Get().(*frame)
		defer d.free.Put(f)
		for {
			mu.Lock()
			if end != nil || err != nil {
				mu.Unlock()
				return
			}
			if err = d.take(r, f, number); err == nil && f.typ == frameEnd {
				end = &frame{a: f.a, b: f.b}
			}
			pages := err == nil && f.typ == framePages
			if pages && alone && r.Pages > small/pageSize {
				alone = false
				for range workers() - 1 {
					wg.Go(work)
				}
			}
			mu.Unlock()
			if !pages {
				continue
			}
			if ferr := d.fill(f); ferr != nil {
				mu.Lock()
				err = ferr
				mu.Unlock()
			}
		}
	}
	work()
	wg.Wait()
	if err != nil {
		return err
	}
	return d.end(r, end)
}

// take reads a frame of a round and does what it says, but for filling pages in.
func (d *Destination) take(r *arriving, f *frame, number uint64) error {
	if err := f.read(d.conn, &d.un); err != nil {
		return fmt.Errorf("the connection to the source: %w", noEOF(err))
	}
	if begun := !r.start.IsZero(); (f.typ == frameBegin) == begun && f.typ != frameAbort {
		return malformed("type %d at round %d", f.typ, number)
	}
	r.Bytes += uint64(f.wire)
	if f.typ != frameEnd {
		r.sum = r.sum<<1 ^ r.sum>>31 ^ f.sum
	}
	if err := d.note(r, f); err != nil {
		return err
	}
	if d.opt.Room != nil && (r.Pages*pageSize >= d.looked+roomStep || r.Pages*pageSize < d.looked || f.typ == frameBegin) {
		d.looked = r.Pages * pageSize
		if err := d.opt.Room(); err != nil {
			return err
		}
	}
	switch f.typ {
	case frameBegin:
		if f.a != number {
			return malformed("round %d for %d", f.a, number)
		}
		return d.begin(r, f)
	case framePages, frameLazy, frameEnd:
		return nil
	case frameAbort:
		return &RemoteError{f.text()}
	}
	return malformed("type %d in a round", f.typ)
}

// note checks a frame's runs and counts them.
func (d *Destination) note(r *arriving, f *frame) error {
	for _, x := range f.runs {
		s := x.span()
		if !contains(d.all, s) {
			return malformed("pages at %#x-%#x, where nothing is mapped", s.Start, s.End)
		}
		if f.typ == frameLazy && (x.kind != runData || r.fault == nil || !contains(d.anon, s)) {
			return malformed("pages at %#x-%#x are to be asked for", s.Start, s.End)
		}
		if x.kind == runHuge {
			continue
		}
		r.total += uint64(x.pages)
		switch {
		case f.typ == frameLazy:
			r.lazy = append(r.lazy, s)
			continue
		case x.kind == runGone:
			r.gone = append(r.gone, s)
			continue
		case x.kind == runZero:
			r.Zero += uint64(x.pages)
		}
		r.Pages += uint64(x.pages)
		r.pages = appendAny(r.pages, s)
	}
	if r.total > length(d.all)/pageSize*2 {
		return malformed("%d pages for mappings of %d bytes", r.total, length(d.all))
	}
	return nil
}

// appendAny appends a range that may come before the last.
func appendAny(rs []linux.Range, r linux.Range) []linux.Range {
	if n := len(rs); n > 0 && rs[n-1].End == r.Start {
		rs[n-1].End = r.End
		return rs
	}
	return append(rs, r)
}

func (d *Destination) begin(r *arriving, f *frame) error {
	r.start, r.flags = time.Now(), f.code
	var lost []linux.Range
	if f.code&beginLayout != 0 {
		if d.body.Layout == nil {
			return errors.New("no mappings were expected")
		}
		p, err := d.body.Layout(f.data())
		if err != nil {
			return err
		}
		lost = subtract(d.received, sorted(append([]linux.Range(nil), p.Kept...)))
		d.received = subtract(d.received, lost)
		d.placed(p.PID, p.Image)
	}
	if d.body.Image == nil {
		return errors.New("pages came before the mappings")
	}
	declined := ""
	if f.code&beginLazy != 0 {
		u, forks, err := d.userfault()
		r.forks = forks
		if err != nil {
			declined = err.Error()
			if declined == "" {
				declined = "not possible"
			}
		} else {
			r.fault = &u
		}
	}
	out := textFrame(frameReady, 0, declined)
	if declined != "" {
		out.code = 1
	}
	for len(lost) > 0 {
		s := lost[0]
		n := min(s.Len()/pageSize, 1<<31)
		out.runs = append(out.runs, run{start: s.Start, pages: uint32(n)})
		if lost[0].Start += n * pageSize; lost[0].Start == lost[0].End {
			lost = lost[1:]
		}
		if len(out.runs) == maxRuns && len(lost) > 0 {
			if err := d.say(out); err != nil {
				return err
			}
			out.runs = out.runs[:0]
		}
	}
	out.b = 1
	return d.say(out)
}

// userfault makes the userfaultfd for pages that come later.
func (d *Destination) userfault() (u Userfault, forks bool, err error) {
	const what = "post-copy"
	if d.body.Userfault == nil {
		return u, false, &UnsupportedError{What: what, Need: "a userfaultfd in the process, which the receiver does not make"}
	}
	if len(d.received) > 0 && d.body.Drop == nil {
		return u, false, &UnsupportedError{What: what, Need: "a way to drop what was sent before"}
	}
	if u, err = d.body.Userfault(); err != nil {
		return u, false, err
	}
	if u.UserOnly {
		err = errUserOnly
	} else {
		forks, err = missingFeatures(u.FD)
	}
	if err != nil {
		closeFD(u.FD)
	}
	return u, forks, err
}

func (d *Destination) end(r *arriving, f *frame) error {
	if f.a != r.total || f.b != uint64(r.sum) {
		return malformed("%d pages came (%#x), %d were sent (%#x)", r.total, r.sum, f.a, f.b)
	}
	r.lazy = sorted(r.lazy)
	drop := intersect(union(sorted(r.gone), r.lazy), d.received)
	if err := d.drop(drop); err != nil {
		return err
	}
	d.received = union(subtract(d.received, drop), sorted(r.pages))
	r.pages = nil
	r.Duration = time.Since(r.start)
	if d.opt.Progress != nil {
		d.opt.Progress(Progress{Pages: r.total, Bytes: r.Bytes, Total: r.total, Done: true})
	}
	if r.flags&beginFinal != 0 {
		return nil // acknowledged when all is prepared
	}
	return d.say(&frame{typ: frameAck})
}

func (d *Destination) drop(rs []linux.Range) error {
	if len(rs) == 0 {
		return nil
	}
	if d.body.Drop != nil {
		if err := d.body.Drop(rs); err != nil {
			return fmt.Errorf("drop pages of process %d: %w", d.body.PID, err)
		}
		return nil
	}
	for _, r := range rs {
		if err := d.mem.writeZeros(r); err != nil {
			return err
		}
	}
	return nil
}

// fill puts the pages of a frame in their places.
func (d *Destination) fill(f *frame) error {
	var ranges [maxRuns]linux.Range
	to := ranges[:0]
	for _, x := range f.runs {
		switch s := x.span(); x.kind {
		case runData:
			to = append(to, s)
		case runHuge:
			d.mem.makeHuge(s)
		case runZero:
			one := []linux.Range{s}
			for _, r := range union(subtract(one, d.anon), intersect(one, d.received)) {
				if err := d.mem.writeZeros(r); err != nil {
					return fmt.Errorf("fill %w", err)
				}
			}
		}
	}
	if len(to) == 0 {
		return nil
	}
	if err := fault.Point("receive.pages", d.conn); err != nil {
		return err
	}
	if err := d.mem.copy(to, f.data(), true, nil); err != nil {
		return fmt.Errorf("fill %w", err)
	}
	return nil
}
