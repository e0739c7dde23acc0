package transfer

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"homing/internal/linux"
)

func TestChoose(t *testing.T) {
	no := errors.New("no")
	for name, tt := range map[string]struct {
		want Strategy
		c    Conditions
		get  Strategy
		note bool
	}{
		"small":                         {"", Conditions{Bytes: 1 << 20}, Stop, false},
		"small for the link":            {"", Conditions{Bytes: 10 << 20, Bandwidth: 1e9}, Stop, false},
		"small, nothing possible":       {"", Conditions{Bytes: 1 << 20, Track: no, Fault: no}, Stop, false},
		"large":                         {"", Conditions{Bytes: 1 << 30}, Pre, false},
		"large, slow writer":            {"", Conditions{Bytes: 1 << 30, Bandwidth: 1e9, DirtyRate: 4e8}, Pre, false},
		"large, fast writer":            {"", Conditions{Bytes: 1 << 30, Bandwidth: 1e9, DirtyRate: 6e8}, Hybrid, false},
		"large, fast writer, no faults": {"", Conditions{Bytes: 1 << 30, Bandwidth: 1e9, DirtyRate: 2e9, Fault: no}, Pre, false},
		"large, no tracking":            {"", Conditions{Bytes: 1 << 30, Track: no}, Post, false},
		"large, nothing possible":       {"", Conditions{Bytes: 1 << 30, Track: no, Fault: no}, Stop, true},
		"long freeze allowed":           {"", Conditions{Bytes: 1 << 30, Bandwidth: 1e9, Freeze: 2 * time.Second}, Stop, false},
		"stop":                          {Stop, Conditions{Bytes: 1 << 40}, Stop, false},
		"pre":                           {Pre, Conditions{}, Pre, false},
		"pre, no tracking":              {Pre, Conditions{Track: no}, Stop, true},
		"post":                          {Post, Conditions{Track: no}, Post, false},
		"post, no faults":               {Post, Conditions{Fault: no}, Pre, true},
		"post, nothing possible":        {Post, Conditions{Fault: no, Track: no}, Stop, true},
		"hybrid":                        {Hybrid, Conditions{}, Hybrid, false},
		"hybrid, no tracking":           {Hybrid, Conditions{Track: no}, Post, true},
		"hybrid, no faults":             {Hybrid, Conditions{Fault: no}, Pre, true},
	} {
		if got, note := Choose(tt.want, tt.c); got != tt.get || (note != "") != tt.note {
			t.Errorf("%s: %s (%q), want %s", name, got, note, tt.get)
		}
	}
}

func TestLazy(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		want Strategy
		o    Outcome
		c    Conditions
		lazy bool
	}{
		{AutoStrategy, Outcome{Converged: true, Rest: 5}, Conditions{}, false},
		{AutoStrategy, Outcome{Rest: 5}, Conditions{}, true},
		{AutoStrategy, Outcome{Rest: 5}, Conditions{Fault: no}, false},
		{Pre, Outcome{Rest: 5}, Conditions{}, false},
		{Hybrid, Outcome{Converged: true, Rest: 5}, Conditions{}, true},
		{Hybrid, Outcome{Converged: true}, Conditions{}, false},
	} {
		if got := tt.o.Lazy(tt.want, tt.c); got != tt.lazy {
			t.Errorf("%q %+v %+v: %v", tt.want, tt.o, tt.c, got)
		}
	}
}

// Lists of ranges behave like sets of pages.
func TestRanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const pages = 64
	list := func() ([]linux.Range, [pages]bool) {
		var set [pages]bool
		var rs []linux.Range
		for range rnd.IntN(8) {
			at, n := rnd.IntN(pages-8), 1+rnd.IntN(8)
			rs = append(rs, linux.Range{Start: uint64(at) * pageSize, End: uint64(at+n) * pageSize})
			for i := range n {
				set[at+i] = true
			}
		}
		return sorted(rs), set
	}
	check := func(name string, rs []linux.Range, want func(i int) bool) {
		t.Helper()
		last := uint64(0)
		for i, r := range rs {
			if r.Start >= r.End || i > 0 && r.Start <= last {
				t.Fatalf("%s: %x", name, rs)
			}
			last = r.End
		}
		for i := range pages {
			page := linux.Range{Start: uint64(i) * pageSize, End: uint64(i+1) * pageSize}
			if contains(rs, page) != want(i) {
				t.Fatalf("%s: page %d in %x", name, i, rs)
			}
		}
	}
	for range 2000 {
		a, as := list()
		b, bs := list()
		check("union", union(a, b), func(i int) bool { return as[i] || bs[i] })
		check("intersect", intersect(a, b), func(i int) bool { return as[i] && bs[i] })
		check("subtract", subtract(a, b), func(i int) bool { return as[i] && !bs[i] })
		x := newPageIndex(a)
		if x.total*pageSize != length(a) {
			t.Fatalf("%d pages in %x", x.total, a)
		}
		n := uint64(0)
		for i := range pages {
			got, ok := x.find(uint64(i) * pageSize)
			if ok != as[i] || ok && got != n {
				t.Fatalf("page %d of %x is %d, %v", i, a, got, ok)
			}
			if ok {
				if s := x.span(n, 3); s.Start != uint64(i)*pageSize || !contains(a, s) {
					t.Fatalf("3 pages from %d of %x: %x", n, a, s)
				}
				n++
			}
		}
	}
}

// What a process does to its memory is followed by the segments of a space.
func TestSpace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const pages = 64
	for range 300 {
		x := newPageIndex([]linux.Range{{Start: 8 * pageSize, End: 24 * pageSize}, {Start: 32 * pageSize, End: 40 * pageSize}})
		s := newSpace(-1, x)
		var is [2 * pages]int // which page of the source is missing there, -1: none
		for i := range is {
			is[i] = -1
			if n, ok := x.find(uint64(i) * pageSize); ok {
				is[i] = int(n)
			}
		}
		for range 12 {
			at, n, to := rnd.IntN(pages-10), 1+rnd.IntN(9), pages+rnd.IntN(pages-10)
			if rnd.IntN(2) == 0 {
				to = at + 10 + rnd.IntN(20)
			}
			r := linux.Range{Start: uint64(at) * pageSize, End: uint64(at+n) * pageSize}
			switch rnd.IntN(3) {
			case 0:
				s.forget(r)
				for i := range n {
					is[at+i] = -1
				}
			default:
				s.move(r.Start, uint64(to)*pageSize, r.Len())
				for i := range n {
					is[to+i], is[at+i] = is[at+i], -1
				}
			}
			left := uint64(0)
			for i, want := range is {
				got, ok := s.missing(uint64(i) * pageSize)
				if ok != (want >= 0) || ok && int(got) != want {
					t.Fatalf("page %d: %d %v, want %d; %+v", i, got, ok, want, s.segs)
				}
				if ok {
					left++
				}
			}
			if left != s.left {
				t.Fatalf("%d pages left, counted %d", left, s.left)
			}
		}
	}
}

// A codec is used when it makes the connection faster, and not otherwise.
func TestPacker(t *testing.T) {
	for name, tt := range map[string]struct {
		link, s2, zstd     float64 // bytes a second
		ratioS2, ratioZstd float64
		want               int
	}{
		"fast link":                     {2e9, 8e8, 3e8, 0.3, 0.2, codecNone},
		"a gigabit":                     {1.2e8, 8e8, 3e8, 0.5, 0.3, codecZstd},
		"a gigabit, slow zstd":          {1.2e8, 8e8, 1.2e8, 0.5, 0.3, codecS2},
		"a gigabit, incompressible":     {1.2e8, 8e8, 3e8, 1, 1, codecNone},
		"slow":                          {1e7, 8e8, 3e8, 0.5, 0.3, codecZstd},
		"faster than the compressor":    {5e8, 4e8, 3e8, 0.3, 0.2, codecNone},
		"not worth it":                  {1.2e8, 8e8, 3e8, 0.95, 0.93, codecNone},
		"ten gigabits, a fast computer": {5e8, 2e9, 1e9, 0.4, 0.3, codecS2},
	} {
		p := &packer{link: tt.link, frames: 5}
		p.codec[codecS2].speed, p.codec[codecS2].ratio = tt.s2, tt.ratioS2
		p.codec[codecZstd].speed, p.codec[codecZstd].ratio = tt.zstd, tt.ratioZstd
		if got := p.pick(); got != tt.want {
			t.Errorf("%s: codec %d, want %d", name, got, tt.want)
		}
	}
	p := &packer{}
	if p.pick() != codecNone {
		t.Error("a connection that was not measured is not known to be slow")
	}
	for range 20 {
		p.wrote(1<<20, 10*time.Millisecond)
	}
	if p.link < 90e6 || p.link > 120e6 || p.pick() != codecS2 || p.pick() != codecS2 {
		t.Errorf("%+v: codecs are to be tried", p)
	}
	if q := (&packer{rate: 1e6}); q.pick() == codecNone {
		t.Error("a limited rate is a slow connection")
	}
}

func TestCodecs(t *testing.T) {
	var un unpacker
	for _, codec := range []byte{codecS2, codecZstd} {
		f := pagesFrame(codec, run{base, 64, runData})
		if f.code != codec || f.packedLen > f.n/2 {
			t.Fatalf("codec %d: code %d, %d of %d bytes", codec, f.code, f.packedLen, f.n)
		}
		var in frame
		if err := in.read(bytes.NewReader(f.encode()), &un); err != nil || !bytes.Equal(in.data(), f.data()) {
			t.Errorf("codec %d: %v", codec, err)
		}
		// One that gives more, or less, than it says.
		for _, n := range []int{f.n - pageSize, f.n + pageSize} {
			if err := un.unpack(codec, f.packed[headRoom:headRoom+f.packedLen], make([]byte, n)); !errors.Is(err, errFrame) {
				t.Errorf("codec %d into %d bytes: %v", codec, n, err)
			}
		}
	}
}

// The window grows while nothing queues, and shrinks when something does.
func TestWindow(t *testing.T) {
	now := time.Unix(1000, 0)
	var w window
	got := uint64(0)
	trip := func(rtt time.Duration) {
		for w.open(got) {
			w.offer(chunkPages*pageSize, now)
		}
		now = now.Add(rtt)
		got = w.offered
		w.acked(got, now)
	}
	for range 5 {
		trip(10 * time.Millisecond)
	}
	if w.size < 4<<20 {
		t.Errorf("window of %d bytes after 5 quiet round trips", w.size)
	}
	for range 30 {
		trip(40 * time.Millisecond)
	}
	if w.size != minWindow {
		t.Errorf("window of %d bytes with a queue", w.size)
	}
	trip(10 * time.Millisecond)
	if w.size <= minWindow || w.size > 2*minWindow {
		t.Errorf("window of %d bytes after the queue", w.size)
	}
}

// What flows in a second is what may, in small pieces.
func TestPacer(t *testing.T) {
	p := pacer{rate: 1e6}
	now := time.Unix(1000, 0)
	start, sent := now, 0
	for now.Sub(start) < time.Second {
		if d := p.delay(now); d > 0 {
			now = now.Add(d)
			continue
		}
		if n := p.piece(); n > 16<<10 {
			t.Fatalf("pieces of %d bytes", n)
		}
		p.spend(now, p.piece())
		sent += p.piece()
	}
	if sent < 950e3 || sent > 1050e3 {
		t.Errorf("%d bytes in a second", sent)
	}
	if (&pacer{}).delay(now) != 0 {
		t.Error("no limit is none")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.wait(ctx, 1<<30); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
