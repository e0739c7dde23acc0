package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
)

var victimPath = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "transfer")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "victim")
	if out, err := exec.Command("gcc", "-O2", "-pthread", "-o", path, "testdata/victim.c").CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return path, os.Chmod(dir, 0o755)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := victimPath(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// victim is a process of testdata/victim.c.
type victim struct {
	t   testing.TB
	pid int
	in  io.Writer
	out *bufio.Reader
}

func start(t testing.TB) *victim {
	t.Helper()
	path, err := victimPath()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return &victim{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
}

// ask gives a command and returns the answer.
func (v *victim) ask(cmd string, a, b, c uint64, more ...string) string {
	v.t.Helper()
	v.tell(cmd, a, b, c, more...)
	return v.answer()
}

func (v *victim) tell(cmd string, a, b, c uint64, more ...string) {
	v.t.Helper()
	if _, err := fmt.Fprintf(v.in, "%s %x %x %x %s\n", cmd, a, b, c, strings.Join(more, " ")); err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) answer() string {
	v.t.Helper()
	line, err := v.out.ReadString('\n')
	if err != nil {
		v.t.Fatalf("the victim ended: %v", err)
	}
	return strings.TrimSpace(line)
}

// must gives a command that succeeds.
func (v *victim) must(cmd string, a, b, c uint64, more ...string) {
	v.t.Helper()
	if got := v.ask(cmd, a, b, c, more...); got != "1" {
		v.t.Fatalf("%s %#x %#x %#x: %s", cmd, a, b, c, got)
	}
}

// userfault has the victim make a userfaultfd and takes it.
func (v *victim) userfault(flags int) (Userfault, error) {
	v.t.Helper()
	device := uint64(0)
	if flags == 0 && os.Geteuid() == 0 {
		device = 1
	}
	n, err := strconv.Atoi(v.ask("uffd", 0, device, uint64(flags|unix.O_CLOEXEC|unix.O_NONBLOCK)))
	if err != nil || n < 0 {
		return Userfault{}, fmt.Errorf("no userfaultfd: %w", err)
	}
	pidfd, err := unix.PidfdOpen(v.pid, 0)
	if err != nil {
		return Userfault{}, err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, n, 0)
	if err != nil {
		return Userfault{}, err
	}
	v.must("close", uint64(n), 0, 0)
	return Userfault{FD: fd, UserOnly: flags&linux.UserfaultUserModeOnly != 0}, nil
}

func (v *victim) stop() {
	v.t.Helper()
	if err := unix.Kill(v.pid, unix.SIGSTOP); err != nil {
		v.t.Fatal(err)
	}
	for {
		st, err := linux.ReadStat(fmt.Sprintf("/proc/%d/stat", v.pid))
		if err != nil {
			v.t.Fatal(err)
		}
		if st.State == 'T' {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// map makes the mappings of an image.
func (v *victim) mapAll(im *checkpoint.Image) {
	v.t.Helper()
	for _, m := range im.VMAs {
		v.mapOne(im, m)
	}
}

func (v *victim) mapOne(im *checkpoint.Image, m checkpoint.VMA) {
	v.t.Helper()
	if m.File >= 0 {
		v.must("mapfile", m.Start, m.End-m.Start, uint64(m.Prot), im.Files[m.File].Path)
		return
	}
	v.must("map", m.Start, m.End-m.Start, uint64(m.Prot))
}

// pages finds the pages that a stopped process has of its own.
func (v *victim) pages(im *checkpoint.Image) []linux.Range {
	v.t.Helper()
	pm, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", v.pid))
	if err != nil {
		v.t.Fatal(err)
	}
	defer pm.Close()
	var out []linux.Range
	for _, m := range im.VMAs {
		found, err := linux.ScanPages(int(pm.Fd()), m.Start, m.End, ownMask, ownMask, ownAnyOf, 0, nil)
		if err != nil {
			v.t.Fatal(err)
		}
		for _, f := range found {
			out = appendRange(out, linux.Range{Start: f.Start, End: f.End})
		}
	}
	return out
}

// same compares the memory of two processes.
func same(t *testing.T, a, b *victim, rs []linux.Range) {
	t.Helper()
	ma, mb := newMemory(a.pid), newMemory(b.pid)
	defer ma.close()
	defer mb.close()
	bad := 0
	for _, r := range rs {
		for at := r.Start; at < r.End; at += 1 << 20 {
			p := []linux.Range{{Start: at, End: min(at+1<<20, r.End)}}
			ba, bb := make([]byte, length(p)), make([]byte, length(p))
			if err := ma.copy(p, ba, false, nil); err != nil {
				t.Fatal(err)
			}
			if err := mb.copy(p, bb, false, nil); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(ba); i += pageSize {
				if !bytes.Equal(ba[i:i+pageSize], bb[i:i+pageSize]) {
					if bad++; bad < 5 {
						t.Errorf("page %#x differs: %x… %x…", at+uint64(i), ba[i:i+16], bb[i:i+16])
					}
				}
			}
		}
	}
	if bad > 0 {
		t.Fatalf("%d pages differ", bad)
	}
}

const (
	rw   = unix.PROT_READ | unix.PROT_WRITE
	base = 0x600000000000
	mib  = 1 << 20
)

// testImage has every kind of private mapping.
func testImage(t *testing.T) *checkpoint.Image {
	file := filepath.Join(t.TempDir(), "file")
	b := make([]byte, 4*mib)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return &checkpoint.Image{
		Files: []checkpoint.File{{Path: file}},
		VMAs: []checkpoint.VMA{
			{Start: base, End: base + 32*mib, Prot: rw, File: -1},
			{Start: base + 32*mib, End: base + 36*mib, Prot: rw, File: 0},
			{Start: base + 40*mib, End: base + 42*mib, Prot: unix.PROT_READ, File: -1},
			{Start: base + 42*mib, End: base + 44*mib, Prot: unix.PROT_NONE, File: -1},
			{Start: base + 64*mib, End: base + 72*mib, Prot: rw, File: -1},
		},
	}
}

// source makes a process with an image's mappings and something in each.
func source(t *testing.T, im *checkpoint.Image) *victim {
	t.Helper()
	v := start(t)
	v.mapAll(im)
	fillTest(v)
	return v
}

func fillTest(v *victim) {
	v.t.Helper()
	v.must("fill", base+mib, 20*mib, 7)
	v.must("zero", base+4*mib+8192, mib, 0)
	for i := range uint64(50) { // scattered pages
		v.must("fill", base+24*mib+i*5*pageSize, 4096, 100+i)
	}
	v.must("zero", base+29*mib, 3*mib, 0)
	v.must("fill", base+32*mib+3*pageSize, 5*pageSize, 8)
	v.must("zero", base+33*mib, pageSize, 0) // in a file, zeros are contents
	for i, at := range []uint64{base + 40*mib, base + 42*mib} {
		v.must("protect", at, 2*mib, rw)
		v.must("fill", at+pageSize, mib, 9+uint64(i))
		v.must("protect", at, 2*mib, uint64(1-i)) // PROT_READ, PROT_NONE
	}
	v.must("advise", base+64*mib, 8*mib, unix.MADV_HUGEPAGE)
	v.must("fill", base+64*mib, 8*mib, 11)
}

// links returns both ends of connections of several kinds.
func links(t testing.TB) map[string]func() (net.Conn, net.Conn) {
	return map[string]func() (net.Conn, net.Conn){
		"pipe": net.Pipe,
		"tcp":  func() (net.Conn, net.Conn) { return tcpPair(t) },
	}
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

type received struct {
	Arrival
	err error
}

// receive starts a destination.
func receive(conn net.Conn, body Body) chan received {
	c := make(chan received, 1)
	go func() {
		d := NewDestination(conn, body, Options{})
		defer d.Close()
		a, err := d.Receive(context.Background())
		if err != nil {
			conn.Close()
		}
		c <- received{a, err}
	}()
	return c
}

func TestStop(t *testing.T) {
	for name, link := range links(t) {
		for _, mode := range []Compression{Auto, Always, alwaysZstd} {
			t.Run(fmt.Sprintf("%s %d", name, mode), func(t *testing.T) {
				im := testImage(t)
				a, b := source(t, im), start(t)
				b.mapAll(im)
				a.stop()
				im.Pages = a.pages(im)
				here, there := link()
				got := receive(there, Body{PID: b.pid, Image: im})
				s := NewSource(here, a.pid, Options{Compress: mode})
				defer s.Close()
				r, err := s.Final(context.Background(), Final{Image: im})
				if err != nil {
					t.Fatal(err)
				}
				if d := <-got; d.err != nil || d.Puller != nil || len(d.Rounds) != 1 || d.Rounds[0].Pages != r.Pages || d.Rounds[0].Bytes != r.Bytes {
					t.Fatalf("sent %+v, received %+v, %v", r, d.Arrival, d.err)
				}
				if r.Pages != length(im.Pages)/pageSize || r.Zero < 255+3*256 {
					t.Errorf("%+v of %d bytes", r, length(im.Pages))
				}
				same(t, a, b, mapped(im, nil))
				// Pages of zeros take no memory.
				if n, m := length(b.pages(im)), length(im.Pages); n >= m {
					t.Errorf("%d bytes at the destination, %d at the source", n, m)
				}
			})
		}
	}
}

// layouts makes a body's mappings follow those that are described, as
// checkpoint does it: what is as it was keeps its contents.
func layouts(v *victim) func([]byte) (Placed, error) {
	var old checkpoint.Image
	return func(b []byte) (Placed, error) {
		im := new(checkpoint.Image)
		if err := json.Unmarshal(b, im); err != nil {
			return Placed{}, err
		}
		p := Placed{PID: v.pid, Image: im}
		is := func(im *checkpoint.Image, m checkpoint.VMA) bool {
			for _, o := range im.VMAs {
				if o == m {
					return true
				}
			}
			return false
		}
		for _, m := range old.VMAs {
			if !is(im, m) {
				v.must("unmap", m.Start, m.End-m.Start, 0)
			}
		}
		for _, m := range im.VMAs {
			if is(&old, m) {
				p.Kept = append(p.Kept, linux.Range{Start: m.Start, End: m.End})
			} else {
				v.mapOne(im, m)
			}
		}
		old = *im
		return p, nil
	}
}

func (v *victim) drop(rs []linux.Range) error {
	for _, r := range rs {
		v.must("advise", r.Start, r.Len(), unix.MADV_DONTNEED)
	}
	return nil
}

// A process that writes everywhere at full speed, changes its mappings, gives up
// memory, and is identical at its destination.
func TestPrecopy(t *testing.T) {
	if err := Probe().Track; err != nil {
		t.Skip(err)
	}
	for _, withDrop := range []bool{true, false} {
		t.Run(fmt.Sprintf("drop %v", withDrop), func(t *testing.T) {
			im := testImage(t)
			a, b := source(t, im), start(t)
			u, err := a.userfault(linux.UserfaultUserModeOnly)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := NewTracker(a.pid, u, nil)
			if err != nil {
				t.Fatal(err)
			}
			a.must("scribble", base+64*mib, 8*mib, 0)
			here, there := tcpPair(t)
			body := Body{Layout: layouts(b)}
			if withDrop {
				body.Drop = b.drop
			}
			got := receive(there, body)
			s := NewSource(here, a.pid, Options{})
			defer s.Close()
			n := 0
			// What each round finds changed since the one before.
			changes := []func(){
				func() {},
				func() {
					a.must("advise", base+2*mib, mib, unix.MADV_DONTNEED) // back to zeros
					a.must("advise", base+32*mib, mib, unix.MADV_DONTNEED)
					a.must("fill", base+9*mib, 64<<10, 77)
				},
				func() { // another mapping where one was, and one that has moved
					a.must("unmap", base+10*mib, mib, 0)
					im.VMAs[0].End = base + 10*mib
					im.VMAs = append(im.VMAs[:1:1], append([]checkpoint.VMA{{Start: base + 11*mib, End: base + 32*mib, Prot: rw, File: -1}}, im.VMAs[1:]...)...)
					a.must("move", base+12*mib, mib, base+80*mib)
					im.VMAs[1].Start = base + 13*mib
					im.VMAs = append(im.VMAs[:1:1], append([]checkpoint.VMA{{Start: base + 11*mib, End: base + 12*mib, Prot: rw, File: -1}}, im.VMAs[1:]...)...)
					im.VMAs = append(im.VMAs, checkpoint.VMA{Start: base + 80*mib, End: base + 81*mib, Prot: rw, File: -1})
				},
				func() { // memory that was sent is another's now
					a.must("unmap", base+5*mib, mib, 0)
					a.must("map", base+5*mib, mib, rw)
					a.must("move", base+6*mib, mib, base+7*mib)
					a.must("map", base+6*mib, mib, rw)
					a.must("fill", base+6*mib, 4096, 5)
				},
			}
			layout := func() ([]byte, *checkpoint.Image, error) {
				if n < len(changes) {
					changes[n]()
				}
				n++
				b, err := json.Marshal(im)
				return b, im, err
			}
			for range changes {
				if _, err := s.Precopy(context.Background(), tr, layout, Aim{Rounds: 1, Freeze: 1}); err != nil {
					t.Fatal(err)
				}
			}
			a.must("fill", base+3*mib, 4096, 1)
			a.must("advise", base+8*mib, 64<<10, unix.MADV_DONTNEED)
			a.stop()
			im.Pages = a.pages(im)
			f, err := json.Marshal(im)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Final(context.Background(), Final{Image: im, Layout: f, Tracker: tr})
			if err != nil {
				t.Fatal(err)
			}
			d := <-got
			if d.err != nil {
				t.Fatal(d.err)
			}
			t.Logf("rounds %+v, last %+v", d.Rounds, r)
			if r.Pages*pageSize > 9*mib {
				t.Errorf("the last round sent %d pages", r.Pages)
			}
			same(t, a, b, mapped(im, nil))
			tr.Disarm()
		})
	}
}

// A process that writes little converges, and is as before when nobody looks.
func TestPrecopyConverges(t *testing.T) {
	if err := Probe().Track; err != nil {
		t.Skip(err)
	}
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	maps := func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", a.pid))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := maps()
	u, err := a.userfault(linux.UserfaultUserModeOnly)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTracker(a.pid, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	here, there := tcpPair(t)
	got := receive(there, Body{PID: b.pid, Image: im})
	s := NewSource(here, a.pid, Options{})
	defer s.Close()
	out, err := s.Precopy(context.Background(), tr, func() ([]byte, *checkpoint.Image, error) { return nil, im, nil }, Aim{})
	if err != nil || !out.Converged || len(out.Rounds) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	a.must("fill", base+3*mib, 4096, 1)
	a.stop()
	im.Pages = a.pages(im)
	r, err := s.Final(context.Background(), Final{Image: im, Tracker: tr})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pages != 1 {
		t.Errorf("%d pages in the last round, one was written", r.Pages)
	}
	if d := <-got; d.err != nil {
		t.Fatal(d.err)
	}
	same(t, a, b, mapped(im, nil))
	tr.Disarm()
	if after := maps(); after != before {
		t.Errorf("mappings before:\n%safter:\n%s", before, after)
	}
}

// A Tracker that has failed is left out: everything is sent again, and what is
// no more is no more at the destination.
func TestFinalWithoutTracker(t *testing.T) {
	if err := Probe().Track; err != nil {
		t.Skip(err)
	}
	im := testImage(t)
	a, b := source(t, im), start(t)
	b.mapAll(im)
	u, err := a.userfault(linux.UserfaultUserModeOnly)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := NewTracker(a.pid, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	here, there := tcpPair(t)
	got := receive(there, Body{PID: b.pid, Image: im})
	s := NewSource(here, a.pid, Options{})
	defer s.Close()
	if _, err := s.Precopy(context.Background(), tr, func() ([]byte, *checkpoint.Image, error) { return nil, im, nil }, Aim{}); err != nil {
		t.Fatal(err)
	}
	tr.Disarm()
	a.must("advise", base+2*mib, mib, unix.MADV_DONTNEED)
	a.must("advise", base+32*mib, mib, unix.MADV_DONTNEED)
	a.stop()
	im.Pages = a.pages(im)
	r, err := s.Final(context.Background(), Final{Image: im})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pages < length(im.Pages)/pageSize {
		t.Errorf("%+v of %d pages", r, length(im.Pages)/pageSize)
	}
	if d := <-got; d.err != nil {
		t.Fatal(d.err)
	}
	same(t, a, b, mapped(im, nil))
}

// Several processes move one after the other over one connection.
func TestOneAfterTheOther(t *testing.T) {
	here, there := tcpPair(t)
	for i := range 3 {
		im := testImage(t)
		a, b := source(t, im), start(t)
		b.mapAll(im)
		a.stop()
		im.Pages = a.pages(im)
		body := Body{PID: b.pid, Image: im}
		if Probe().Fault == nil {
			body.Userfault = func() (Userfault, error) { return b.userfault(0) }
		}
		got := receive(there, body)
		s := NewSource(here, a.pid, Options{})
		defer s.Close()
		f := Final{Image: im, Lazy: i == 1}
		if i == 1 { // nothing is left to ask for
			f.Eager = im.Pages
		}
		r, err := s.Final(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		d := <-got
		if d.err != nil || r.Lazy != 0 || d.Puller != nil {
			t.Fatalf("%+v, %+v", r, d)
		}
		if _, err := s.Serve(context.Background()); err != nil {
			t.Error(err)
		}
		same(t, a, b, mapped(im, nil))
	}
}

var errCut = errors.New("cut")
