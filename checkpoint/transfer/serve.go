package transfer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"homing/internal/linux"
)

const (
	chunkPages = 16  // that are sent unasked at a time: what a fault waits for at most
	hurryPages = 64  // likewise, when nothing but the end is waited for
	maxWant    = 256 // pages that a fault may ask for
)

// server is the state of Serve.
type server struct {
	s    *Source
	x    *pageIndex
	wake chan struct{}

	mu     sync.Mutex // guards what follows: the reader adds, Serve takes
	now    []run
	soon   []run
	hurry  bool
	done   bool
	err    error
	got    uint64 // bytes of unasked pages that the destination has taken
	window window

	sent   bitset
	left   uint64
	cursor uint64
}

// Serve sends the pages that Final has left, those that the destination waits
// for first, until it has all of them. The process must stay as it is, stopped,
// until then; afterwards it is of no use any more.
func (s *Source) Serve(ctx context.Context) (r Round, err error) {
	defer func() { err = cause(ctx, err) }()
	defer guard(ctx, s.conn)()
	start := time.Now()
	v := &server{s: s, x: newPageIndex(s.lazy), wake: make(chan struct{}, 1)}
	v.sent, v.left = newBitset(v.x.total), v.x.total
	if v.left == 0 {
		return r, nil // Final has said so
	}
	read := make(chan struct{})
	go func() { defer close(read); v.read() }()
	err = v.run(ctx, &r)
	if err != nil {
		_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second)) // it may not listen any more
		_, _ = s.conn.Write(textFrame(frameAbort, 0, err.Error()).encode())
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}
	<-read
	r.Duration = time.Since(start)
	return r, err
}

// read takes what the destination says, until it is done.
func (v *server) read() {
	var f frame
	for {
		err := f.read(v.s.conn, nil)
		v.mu.Lock()
		if err == nil {
			err = v.take(&f)
		} else {
			err = fmt.Errorf("the connection to the destination: %w", noEOF(err))
		}
		v.err = err
		end := v.done || err != nil
		v.mu.Unlock()
		select {
		case v.wake <- struct{}{}:
		default:
		}
		if end {
			return
		}
	}
}

func (v *server) take(f *frame) error {
	switch f.typ {
	case frameWant:
		for _, r := range f.runs {
			if r.pages > maxWant {
				return malformed("%d pages asked for at once", r.pages)
			}
			if _, ok := v.x.find(r.start); !ok {
				return malformed("pages at %#x, which were not offered, are asked for", r.start)
			}
			if r.kind == wantNow {
				v.now = append(v.now, r)
			} else {
				v.soon = append(v.soon, r)
			}
		}
		if len(v.now)+len(v.soon) > 1<<16 {
			return malformed("too many pages are asked for")
		}
	case frameGot:
		if f.a < v.got || f.a > v.window.offered {
			return malformed("%d bytes are acknowledged of %d", f.a, v.window.offered)
		}
		v.got = f.a
		v.window.acked(f.a, time.Now())
	case frameHurry:
		v.hurry = true
	case frameDone:
		if v.left > 0 && f.code == 0 {
			return malformed("the end, with %d pages missing", v.left)
		}
		v.done = true
	default:
		return malformed("type %d while pages are asked for", f.typ)
	}
	return nil
}

// step is what to do next.
type step struct {
	at      linux.Range
	unasked bool
	wait    time.Duration // nothing to send for that long, 0: until something comes
	none    bool
}

func (v *server) next() (step, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil || v.done {
		return step{}, v.err
	}
	for _, q := range []*[]run{&v.now, &v.soon} {
		for len(*q) > 0 {
			r := (*q)[0]
			at, ok := v.unsent(r)
			if !ok {
				*q = (*q)[1:]
				continue
			}
			v.mark(at)
			return step{at: at}, nil
		}
	}
	if v.left == 0 {
		return step{none: true}, nil
	}
	pages := uint64(chunkPages)
	if v.hurry {
		pages = hurryPages
	} else if d := v.s.pace.delay(time.Now()); d > 0 {
		return step{none: true, wait: d}, nil
	}
	if !v.window.open(v.got) {
		return step{none: true}, nil
	}
	i, ok := v.sent.nextClear(v.cursor, v.x.total)
	if !ok {
		i, _ = v.sent.nextClear(0, v.x.total)
	}
	at := v.free(i, pages)
	v.mark(at)
	return step{at: at, unasked: true}, nil
}

// unsent returns the first pages of a run that were not sent.
func (v *server) unsent(r run) (linux.Range, bool) {
	first, _ := v.x.find(r.start)
	n := v.x.span(first, uint64(r.pages)).Len() / pageSize
	i, ok := v.sent.nextClear(first, first+n)
	if !ok {
		return linux.Range{}, false
	}
	return v.free(i, min(chunkPages, first+n-i)), true
}

// free returns up to n adjacent pages from i that were not sent.
func (v *server) free(i, n uint64) linux.Range {
	r := v.x.span(i, n)
	for k := uint64(1); k < r.Len()/pageSize; k++ {
		if v.sent.has(i + k) {
			r.End = r.Start + k*pageSize
		}
	}
	return r
}

// mark notes that pages are sent; what is sent unasked goes on behind them.
func (v *server) mark(r linux.Range) {
	i, _ := v.x.find(r.Start)
	for range r.Len() / pageSize {
		v.sent.set(i)
		v.left--
		i++
	}
	v.cursor = i
}

func (v *server) run(ctx context.Context, r *Round) error {
	var f frame
	ended := false
	for {
		st, err := v.next()
		if err != nil {
			return err
		}
		v.mu.Lock()
		done, left := v.done, v.left
		v.mu.Unlock()
		switch {
		case done:
			return nil
		case st.none && left == 0 && !ended:
			ended = true
			if err := v.send(&frame{typ: frameEnd}); err != nil {
				return err
			}
			continue
		case st.none:
			if err := v.sleep(ctx, st.wait); err != nil {
				return err
			}
			continue
		}
		if err := v.s.fill(&f, job{pieces: []linux.Range{st.at}}, nil); err != nil {
			return err
		}
		f.b = 0
		b := f.encode()
		if st.unasked {
			f.b = 1
			b = f.encode()
			v.mu.Lock()
			v.window.offer(uint64(len(b)), time.Now())
			if !v.hurry {
				v.s.pace.spend(time.Now(), len(b))
			}
			v.mu.Unlock()
		}
		for _, x := range f.runs {
			r.Pages += uint64(x.pages)
			if x.kind == runZero {
				r.Zero += uint64(x.pages)
			}
		}
		r.Bytes += uint64(len(b))
		start := time.Now()
		if _, err := v.s.conn.Write(b); err != nil {
			return v.failed(err)
		}
		v.s.pack.wrote(len(b), time.Since(start))
		if p := v.s.opt.Progress; p != nil && r.Pages%4096 < chunkPages {
			p(Progress{Pages: r.Pages, Bytes: r.Bytes, Total: v.x.total})
		}
	}
}

func (v *server) send(f *frame) error {
	if _, err := v.s.conn.Write(f.encode()); err != nil {
		return v.failed(err)
	}
	return nil
}

// failed prefers what the destination has said last to its hanging up.
func (v *server) failed(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.done:
		return nil
	case v.err != nil:
		return v.err
	}
	return fmt.Errorf("send pages: %w", err)
}

func (v *server) sleep(ctx context.Context, d time.Duration) error {
	var t <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		t = timer.C
	}
	select {
	case <-v.wake:
	case <-t:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// window limits how much may be on its way unasked. What a thread waits for
// stands behind it, so it grows only while the time until an acknowledgement
// stays near the shortest seen: while nothing queues.
type window struct {
	size    uint64
	offered uint64 // bytes
	base    time.Duration
	slow    bool // it has been too large
	marks   []mark
	shrunk  time.Time
}

type mark struct {
	upTo uint64
	at   time.Time
}

const (
	minWindow = 256 << 10
	maxWindow = 32 << 20
	maxQueue  = 500 * time.Microsecond // of what is sent unasked
)

func (w *window) open(got uint64) bool {
	return w.offered-got < max(w.size, minWindow)
}

func (w *window) offer(n uint64, now time.Time) {
	w.offered += n
	w.marks = append(w.marks, mark{w.offered, now})
}

func (w *window) acked(upTo uint64, now time.Time) {
	var took time.Duration
	n := uint64(0)
	for len(w.marks) > 0 && w.marks[0].upTo <= upTo {
		took = now.Sub(w.marks[0].at)
		w.marks = w.marks[1:]
		n++
	}
	if n == 0 {
		return
	}
	if w.base == 0 || took < w.base {
		w.base = took
	}
	w.size = max(w.size, minWindow)
	switch {
	case took > w.base+max(maxQueue, w.base/4):
		w.slow = true
		if now.Sub(w.shrunk) > took {
			w.shrunk = now
			w.size = max(w.size*3/4, minWindow)
		}
	case w.slow:
		w.size = min(w.size+chunkPages*pageSize, maxWindow)
	default:
		w.size = min(w.size+n*chunkPages*pageSize, maxWindow)
	}
}
