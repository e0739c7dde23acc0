package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
)

// bytesConn is a connection whose peer has said everything already.
type bytesConn struct {
	io.Reader
	net.Conn
}

func (c bytesConn) Read(p []byte) (int, error)         { return c.Reader.Read(p) }
func (c bytesConn) Write(p []byte) (int, error)        { return len(p), nil }
func (c bytesConn) SetDeadline(time.Time) error        { return nil }
func (c bytesConn) SetReadDeadline(t time.Time) error  { return nil }
func (c bytesConn) SetWriteDeadline(t time.Time) error { return nil }
func (c bytesConn) Close() error                       { return nil }

func stream(frames ...*frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.encode()...)
	}
	return b
}

func pagesFrame(code byte, runs ...run) *frame {
	f := &frame{typ: framePages, runs: runs}
	n := 0
	for _, r := range runs {
		if r.kind == runData {
			n += int(r.pages) * pageSize
		}
	}
	for i := range f.room(n) {
		f.data()[i] = byte(i / 100)
	}
	f.a = uint64(n)
	mode := map[byte]Compression{codecS2: Always, codecZstd: alwaysZstd}[code]
	if code != 0 {
		(&packer{mode: mode}).pack(f)
	}
	return f
}

func seeds() [][]byte {
	at := uint64(base)
	end := &frame{typ: frameEnd, a: 3}
	f := pagesFrame(0, run{at, 2, runData}, run{at + 8192, 1, runZero})
	f.encode()
	end.b = uint64(f.sum)
	huge := pagesFrame(0, run{at, 512, runHuge}, run{at, 1, runGone})
	return [][]byte{
		stream(&frame{typ: frameBegin, code: beginFinal, a: 1}, f, end),
		stream(&frame{typ: frameBegin, code: beginFinal | beginLazy | beginLayout, a: 1}, huge, &frame{typ: frameLazy, runs: []run{{at, 5, 0}}}),
		stream(pagesFrame(codecS2, run{at, 9, runData}), pagesFrame(codecZstd, run{at, 9, runData})),
		stream(&frame{typ: frameWant, runs: []run{{at, 9, wantNow}, {at + 8192, 3, wantSoon}}}, &frame{typ: frameGot, a: 5}, &frame{typ: frameHurry}, &frame{typ: frameDone, code: 1}),
		stream(textFrame(frameReady, 1, "no"), textFrame(frameAck, 1, "why"), textFrame(frameAbort, 0, "because")),
		stream(&frame{typ: frameReady, b: 1, runs: []run{{at, 1, 0}}}, &frame{typ: frameAck}),
	}
}

// What is not a frame is refused, and what is comes back as it was sent.
func FuzzFrame(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in frame
		var un unpacker
		r := bytes.NewReader(b)
		for {
			if err := in.read(r, &un); err != nil {
				return
			}
			if len(in.runs) > maxRuns || in.n > len(in.buf) {
				t.Fatalf("%d runs, %d of %d bytes", len(in.runs), in.n, len(in.buf))
			}
			code := in.code
			if in.typ == framePages {
				in.code = 0 // it is decompressed
			}
			var again frame
			if err := again.read(bytes.NewReader(in.encode()), &un); err != nil {
				t.Fatalf("type %d code %d: %v", in.typ, code, err)
			}
			if again.typ != in.typ || again.a != in.a || again.b != in.b || len(again.runs) != len(in.runs) || !bytes.Equal(again.data(), in.data()) {
				t.Fatal("it does not come back")
			}
		}
	})
}

// arena is memory of our own for a hostile peer to write to, with some around it
// that it must not.
func arena(t testing.TB) ([]byte, *checkpoint.Image) {
	const size = 4 * hugeSize
	mem, err := mmapAt(base, size)
	if err != nil {
		t.Skip(err)
	}
	return mem, &checkpoint.Image{VMAs: []checkpoint.VMA{
		{Start: base, End: base + 16*pageSize, Prot: rw, File: -1},
		{Start: base + hugeSize, End: base + 2*hugeSize, Prot: rw, File: -1},
		{Start: base + 3*hugeSize, End: base + 3*hugeSize + pageSize, Prot: rw, File: 0},
	}}
}

// Whatever a source sends, nothing but what was announced is written.
func FuzzReceive(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	mem, im := arena(f)
	defer func() { _ = unix.Munmap(mem) }()
	all := mapped(im, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := bytesConn{Reader: bytes.NewReader(b)}
		d := NewDestination(c, Body{PID: os.Getpid(), Image: im}, Options{})
		defer d.Close()
		a, err := d.Receive(context.Background())
		if err == nil && len(a.Rounds) == 0 {
			t.Error("success without a round")
		}
		for at := 0; at < len(mem); at += pageSize {
			r := linux.Range{Start: base + uint64(at), End: base + uint64(at) + pageSize}
			if !contains(all, r) && !isZero(mem[at:at+pageSize]) {
				t.Fatalf("page %#x was written", r.Start)
			}
		}
	})
}

// Whatever a destination says, the source ends.
func FuzzReplies(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	mem, im := arena(f)
	defer func() { _ = unix.Munmap(mem) }()
	for i := range mem[:64*pageSize] {
		mem[i] = byte(i)
	}
	im.VMAs[0].End = base + 64*pageSize
	im.Pages = []linux.Range{{Start: base, End: base + 64*pageSize}}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewSource(bytesConn{Reader: bytes.NewReader(b)}, os.Getpid(), Options{})
		defer s.Close()
		_, _ = s.Final(context.Background(), Final{Image: im, Lazy: true}) // fails, mostly
		s = NewSource(bytesConn{Reader: bytes.NewReader(b)}, os.Getpid(), Options{})
		defer s.Close()
		s.lazy = im.Pages
		_, _ = s.Serve(context.Background()) // likewise
	})
}

// A hostile source is refused by name, before it can do anything.
func TestHostile(t *testing.T) {
	mem, im := arena(t)
	defer func() { _ = unix.Munmap(mem) }()
	begin := &frame{typ: frameBegin, code: beginFinal, a: 1}
	raw := func(f *frame, at int, v byte) []byte {
		b := bytes.Clone(f.encode())
		b[at] = v
		return b
	}
	one := pagesFrame(0, run{base, 1, runData})
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"not mapped":          {stream(begin, pagesFrame(0, run{base + 16*pageSize, 1, runData})), "nothing is mapped"},
		"partly mapped":       {stream(begin, pagesFrame(0, run{base + 15*pageSize, 2, runData})), "nothing is mapped"},
		"before the mappings": {stream(begin, pagesFrame(0, run{0, 1, runZero})), "nothing is mapped"},
		"kernel":              {append(stream(begin), raw(one, 24+7, 0xff)...), "malformed"},
		"kind":                {append(stream(begin), raw(one, 24, 9)...), "malformed"},
		"type":                {append(stream(begin), raw(one, 0, 99)...), "malformed"},
		"size":                {append(stream(begin), raw(one, 7, 0x7f)...), "malformed"},
		"raw size":            {append(stream(begin), raw(one, 9, 1)...), "malformed"},
		"codec":               {append(stream(begin), raw(pagesFrame(codecS2, run{base, 1, runData}), 1, 7)...), "malformed"},
		"no codec":            {append(stream(begin), raw(pagesFrame(codecS2, run{base, 1, runData}), 1, 0)...), "malformed"},
		"no beginning":        {stream(one), "malformed"},
		"two beginnings":      {stream(begin, begin), "malformed"},
		"wrong round":         {stream(&frame{typ: frameBegin, a: 7}), "malformed"},
		"too few":             {stream(begin, one, &frame{typ: frameEnd, a: 2}), "1 pages came"},
		"other runs":          {stream(begin, one, &frame{typ: frameEnd, a: 1, b: 5}), "1 pages came"},
		"too many":            {stream(begin, pagesFrame(0, run{base + hugeSize, 512, runZero}, run{base + hugeSize, 512, runZero}, run{base + hugeSize, 512, runZero})), "malformed"},
		"lazily in a file":    {stream(begin, &frame{typ: frameLazy, runs: []run{{base + 3*hugeSize, 1, runData}}}), "to be asked for"},
		"huge":                {stream(begin, pagesFrame(0, run{base, 512, runHuge})), "nothing is mapped"},
		"not aligned":         {stream(begin, pagesFrame(0, run{base + hugeSize + pageSize, 512, runHuge})), "malformed"},
		"cut short":           {stream(begin, one)[:3000], io.ErrUnexpectedEOF.Error()},
		"layout":              {stream(&frame{typ: frameBegin, code: beginLayout, a: 1}), "no mappings were expected"},
		"abort":               {stream(begin, textFrame(frameAbort, 0, "because")), "the other end: because"},
	} {
		d := NewDestination(bytesConn{Reader: bytes.NewReader(tt.b)}, Body{PID: os.Getpid(), Image: im}, Options{})
		_, err := d.Receive(context.Background())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		d.Close()
	}
}

// A layout takes memory only as it comes.
func TestLayoutIsBounded(t *testing.T) {
	b := bytes.Clone((&frame{typ: frameBegin, code: beginLayout}).encode())
	b[7] = 0x0f // 240 MiB
	var f frame
	if err := f.read(bytes.NewReader(b), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	b[7] = 0x1f
	if err := f.read(bytes.NewReader(b), nil); !errors.Is(err, errFrame) {
		t.Errorf("got %v", err)
	}
}
