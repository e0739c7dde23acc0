package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
)

// moved is a process that runs at its destination while its pages come.
type moved struct {
	a, b   *victim
	im     *checkpoint.Image
	p      *Puller
	served chan error
	here   net.Conn
	sums   map[uint64]string
}

// part is a piece of memory that tests look at.
const part = mib

func (m *moved) want(at uint64) string {
	if s, ok := m.sums[at]; ok {
		return s
	}
	m.b.t.Fatalf("no sum of %#x", at)
	return ""
}

// sees fails unless the process finds at an address what was in its memory at
// another when it was stopped.
func (m *moved) sees(at, was uint64) {
	m.b.t.Helper()
	if got := m.b.ask("sum", at, part, 0); got != m.want(was) {
		same(m.b.t.(*testing.T), m.a, m.b, []linux.Range{{Start: at, End: at + part}})
		m.b.t.Fatalf("memory at %#x has the sum %s, at %#x it had %s", at, got, was, m.want(was))
	}
}

// finish fetches the rest and compares everything but what is in ranges.
func (m *moved) finish(but ...linux.Range) {
	m.b.t.Helper()
	if err := m.p.Finish(context.Background()); err != nil {
		m.b.t.Fatal(err)
	}
	if err := <-m.served; err != nil || m.p.Missing() != 0 {
		m.b.t.Fatalf("source: %v; %d bytes missing", err, m.p.Missing())
	}
	same(m.b.t.(*testing.T), m.a, m.b, subtract(mapped(m.im, nil), sorted(but)))
}

// lazily moves a process whose pages come unasked only slowly.
func lazily(t *testing.T, link func() (net.Conn, net.Conn), hybrid bool) *moved {
	t.Helper()
	if err := Probe().Fault; err != nil {
		t.Skip(err)
	}
	im := testImage(t)
	m := &moved{a: source(t, im), b: start(t), im: im, served: make(chan error, 1), sums: map[uint64]string{}}
	for at := uint64(base); at < base+32*mib; at += part {
		m.sums[at] = m.a.ask("sum", at, part, 0)
	}
	m.b.mapAll(im)
	here, there := link()
	m.here = here
	body := Body{PID: m.b.pid, Image: im, Drop: m.b.drop, Userfault: func() (Userfault, error) { return m.b.userfault(0) }}
	got := receive(there, body)
	s := NewSource(here, m.a.pid, Options{Rate: 1 << 20})
	t.Cleanup(s.Close)
	f := Final{Image: im, Lazy: true}
	if hybrid {
		u, err := m.a.userfault(linux.UserfaultUserModeOnly)
		if err != nil {
			t.Fatal(err)
		}
		if f.Tracker, err = NewTracker(m.a.pid, u, nil); err != nil {
			t.Fatal(err)
		}
		s.pace.rate = 0
		if _, err := s.Precopy(context.Background(), f.Tracker, func() ([]byte, *checkpoint.Image, error) { return nil, im, nil }, Aim{}); err != nil {
			t.Fatal(err)
		}
		s.pace.rate = 1 << 20
		m.a.must("fill", base+2*mib, 4*mib, 1234)
		m.a.must("advise", base+7*mib, mib, unix.MADV_DONTNEED)
		for at := uint64(base); at < base+32*mib; at += part {
			m.sums[at] = m.a.ask("sum", at, part, 0)
		}
	}
	m.a.stop()
	im.Pages = m.a.pages(im)
	r, err := s.Final(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	d := <-got
	if d.err != nil {
		t.Fatal(d.err)
	}
	if r.Declined != "" || r.Lazy == 0 || d.Puller == nil || d.Puller.Missing() == 0 {
		t.Fatalf("not lazily: %+v", r)
	}
	m.p = d.Puller
	t.Cleanup(m.p.Stop)
	go func() {
		_, err := s.Serve(context.Background())
		m.served <- err
	}()
	return m
}

// whether the process's children can be followed, which takes more rights.
func forks(t *testing.T, m *moved) {
	if !m.p.Forks() {
		t.Skip("no events of fork: the caller fetches everything first")
	}
}

func TestPostcopy(t *testing.T) {
	for name, link := range links(t) {
		for _, hybrid := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s hybrid %v", name, hybrid), func(t *testing.T) {
				m := lazily(t, link, hybrid)
				for at := uint64(base); at < base+32*mib; at += 3 * part {
					m.sees(at, at)
				}
				m.finish()
			})
		}
	}
}

// Everything that a process can do to its memory while pages are missing.
func TestPostcopyChanges(t *testing.T) {
	tcp := links(t)["tcp"]
	at := func(n uint64) uint64 { return base + n*mib }
	span := func(n, k uint64) linux.Range { return linux.Range{Start: at(n), End: at(n + k)} }
	t.Run("unmap", func(t *testing.T) {
		m := lazily(t, tcp, false)
		m.b.must("unmap", at(5), mib, 0)
		m.b.must("map", at(5), mib, rw) // another mapping now
		m.sees(at(5), at(0))
		m.sees(at(6), at(6))
		m.finish(span(5, 1))
	})
	t.Run("dontneed", func(t *testing.T) {
		m := lazily(t, tcp, false)
		m.b.must("advise", at(5), mib, unix.MADV_DONTNEED)
		m.sees(at(5), at(0)) // zeros
		m.sees(at(4), at(4))
		m.b.must("advise", at(8), mib, unix.MADV_DONTNEED)
		m.finish(span(5, 1), span(8, 1))
		m.sees(at(8), at(0))
	})
	t.Run("mremap", func(t *testing.T) {
		m := lazily(t, tcp, false)
		m.b.must("move", at(5), 2*mib, at(100))
		m.sees(at(100), at(5))
		m.b.must("move", at(101), mib, at(110)) // and once more
		m.b.must("move", at(9), mib, at(10))    // over others that are missing
		m.sees(at(10), at(9))
		m.b.must("map", at(5), 2*mib, rw)
		m.b.must("map", at(9), mib, rw)
		m.finish(span(5, 2), span(9, 2))
		m.sees(at(110), at(6))
		m.sees(at(5), at(0))
	})
	t.Run("mprotect", func(t *testing.T) {
		m := lazily(t, tcp, false)
		m.b.must("protect", at(5), mib, unix.PROT_READ)
		m.sees(at(5), at(5))
		m.b.must("protect", at(6), mib, unix.PROT_NONE)
		m.finish()
	})
	t.Run("fork", func(t *testing.T) {
		m := lazily(t, tcp, false)
		forks(t, m)
		m.sees(at(2), at(2))
		// The parent writes after the fork; the child sees what was before.
		if got := m.b.ask("fork", at(5), mib, 99); got != m.want(at(5)) {
			t.Errorf("the child saw %s, want %s", got, m.want(at(5)))
		}
		m.b.must("move", at(7), mib, at(100))
		if got := m.b.ask("fork", at(100), mib, 98); got != m.want(at(7)) {
			t.Errorf("the child saw %s, want %s", got, m.want(at(7)))
		}
		m.b.must("map", at(7), mib, rw)
		m.finish(span(5, 1), span(7, 1))
	})
	t.Run("kernel", func(t *testing.T) {
		m := lazily(t, tcp, false)
		if got := m.b.ask("kernel", at(5)+100, 4000, 0); got != "4000" {
			t.Errorf("write of missing memory: %s", got)
		}
		m.finish()
	})
	t.Run("need", func(t *testing.T) {
		m := lazily(t, tcp, false)
		if err := m.p.Need(context.Background(), at(5)+5, mib); err != nil {
			t.Fatal(err)
		}
		f, err := newMemory(m.b.pid).mem()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if n, err := f.ReadAt(make([]byte, mib), int64(at(5)+5)); n != mib || err != nil {
			t.Errorf("read %d bytes: %v", n, err)
		}
		m.finish()
	})
	t.Run("read", func(t *testing.T) {
		m := lazily(t, tcp, false)
		if n, err := linux.ReadMemory(m.b.pid, at(11), make([]byte, mib)); n != mib || err != nil {
			t.Errorf("read %d bytes: %v", n, err)
		}
		m.finish()
	})
}

// A source that is gone is told, and the process is not completed by zeros.
func TestPostcopyLost(t *testing.T) {
	m := lazily(t, links(t)["tcp"], false)
	m.sees(base+5*mib, base+5*mib)
	m.here.Close()
	var lost *LostError
	if err := m.p.Wait(); !errors.As(err, &lost) || lost.Missing == 0 {
		t.Fatalf("got %v", err)
	}
	if err := <-m.served; err == nil {
		t.Error("the source has noticed nothing")
	}
	m.b.tell("sum", base+9*mib, mib, 0)
	m.b.stop() // it waits, and can be stopped and killed
	if err := unix.Kill(m.b.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if line, err := m.b.out.ReadString('\n'); err == nil {
		t.Errorf("it went on with pages that were missing: %s", line)
	}
	m.p.Stop()
}

// A process that ends needs nothing more.
func TestPostcopyEnds(t *testing.T) {
	for _, how := range []string{"stop", "seen"} {
		m := lazily(t, links(t)["tcp"], false)
		m.sees(base+5*mib, base+5*mib)
		if err := unix.Kill(m.b.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if how == "stop" {
			m.p.Stop()
		}
		if err := m.p.Wait(); !errors.Is(err, ErrStopped) {
			t.Fatalf("%s: %v", how, err)
		}
		if err := <-m.served; err != nil {
			t.Errorf("%s: source: %v", how, err)
		}
	}
}

// A source whose process ends under it says so.
func TestPostcopySourceEnds(t *testing.T) {
	m := lazily(t, links(t)["tcp"], false)
	if err := unix.Kill(m.a.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var lost *LostError
	if err := m.p.Wait(); !errors.As(err, &lost) {
		t.Fatalf("got %v", err)
	}
	if err := <-m.served; !errors.Is(err, unix.ESRCH) {
		t.Errorf("source: %v", err)
	}
}

// Without the right to serve the kernel's accesses everything comes at once.
func TestPostcopyDeclined(t *testing.T) {
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	a.stop()
	im.Pages = a.pages(im)
	here, there := tcpPair(t)
	got := receive(there, Body{PID: b.pid, Image: im, Userfault: func() (Userfault, error) { return b.userfault(linux.UserfaultUserModeOnly) }})
	s := NewSource(here, a.pid, Options{})
	defer s.Close()
	r, err := s.Final(context.Background(), Final{Image: im, Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	d := <-got
	if d.err != nil || d.Puller != nil || r.Declined != errUserOnly.Error() || r.Lazy != 0 {
		t.Fatalf("%+v, %+v", r, d)
	}
	same(t, a, b, mapped(im, nil))
}

// cutConn is a connection that breaks after so many bytes.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if n := c.left.Add(-int64(len(p))); n < 0 {
		_, _ = c.Conn.Write(p[:max(0, n+int64(len(p)))])
		c.Conn.Close()
		return 0, errCut
	}
	return c.Conn.Write(p)
}

// Whenever the connection breaks, both ends hear of it, and nobody hangs.
func TestCut(t *testing.T) {
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	a.stop()
	im.Pages = a.pages(im)
	for _, after := range []int64{0, 10, 24, 30, 5000, 17000, 1 << 20, 5 << 20, 29 << 20, 1 << 40} {
		for side := range 2 {
			if side == 1 && after > 30 {
				continue
			}
			t.Run(strconv.FormatInt(after, 10)+" "+strconv.Itoa(side), func(t *testing.T) {
				var conns [2]net.Conn
				conns[0], conns[1] = tcpPair(t)
				c := &cutConn{Conn: conns[side]}
				c.left.Store(after)
				conns[side] = c
				got := receive(conns[1], Body{PID: b.pid, Image: im})
				s := NewSource(conns[0], a.pid, Options{Compress: Never})
				defer s.Close()
				_, err := s.Final(context.Background(), Final{Image: im})
				if err != nil {
					conns[0].Close()
				}
				d := <-got
				if complete := after == 1<<40; (err == nil) != complete || (d.err == nil) != complete {
					t.Errorf("source: %v; destination: %v", err, d.err)
				}
			})
		}
	}
}

// The same while it runs.
func TestCutRounds(t *testing.T) {
	if err := Probe().Track; err != nil {
		t.Skip(err)
	}
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	a.must("scribble", base+64*mib, 8*mib, 0)
	for _, after := range []int64{20, 1 << 20, 31 << 20, 60 << 20} {
		u, err := a.userfault(linux.UserfaultUserModeOnly)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := NewTracker(a.pid, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		here, there := tcpPair(t)
		c := &cutConn{Conn: here}
		c.left.Store(after)
		got := receive(there, Body{PID: b.pid, Image: im})
		s := NewSource(c, a.pid, Options{Compress: Never})
		for err == nil {
			_, err = s.Precopy(context.Background(), tr, func() ([]byte, *checkpoint.Image, error) { return nil, im, nil }, Aim{Rounds: 1})
		}
		if d := <-got; d.err == nil {
			t.Errorf("source: %v; the destination has noticed nothing", err)
		}
		s.Close()
		tr.Disarm()
	}
}

// A transfer that is called off ends at both ends.
func TestCancel(t *testing.T) {
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	a.stop()
	im.Pages = a.pages(im)
	here, there := tcpPair(t)
	got := receive(there, Body{PID: b.pid, Image: im})
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("reason")
	s := NewSource(here, a.pid, Options{Rate: 1 << 20, Progress: func(p Progress) {
		if p.Pages > 100 {
			cancel(reason)
		}
	}})
	defer s.Close()
	start := time.Now()
	if _, err := s.Final(ctx, Final{Image: im}); !errors.Is(err, reason) {
		t.Errorf("source: %v", err)
	}
	here.Close()
	if d := <-got; d.err == nil {
		t.Error("the destination has noticed nothing")
	}
	t.Log(time.Since(start))
}
