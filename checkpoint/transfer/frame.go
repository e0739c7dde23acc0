package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"homing/internal/linux"
)

// A frame is a header, a table of runs and a payload. All numbers are little
// endian.
//
//	0 type  1 code  2 number of runs (16 bits)  4 size of the payload (32 bits)
//	8 a (64 bits)  16 b (64 bits)  24 runs of 12 bytes each: address | kind, pages (32 bits)
const (
	frameBegin = 1 + iota // source: a round. code: flags; a: its number; payload: layout
	frameReady            // destination: laid out. code 1: not lazily, payload says why; runs: contents that are lost; b: 1 if the last of them
	framePages            // source: code: codec; a: bytes of the payload when decompressed
	frameLazy             // source: runs that are to be asked for
	frameEnd              // source: a: pages of the round, b: checksum of the runs
	frameAck              // destination: code 1: failed, payload says why
	frameAbort            // source: it gives up, payload says why
	frameWant             // destination: runs that a thread waits for
	frameGot              // destination: a: bytes of pushed pages it has taken
	frameHurry            // destination: without the limit on the rate
	frameDone             // destination: it has everything
	frameTypes
)

// Flags of frameBegin.
const (
	beginLayout = 1 << iota // there is a payload, which may be empty
	beginFinal
	beginLazy
)

// Kinds of runs.
const (
	runData = iota // the pages are in the payload
	runZero        // they are all zeros
	runGone        // they were sent earlier and are no more
	runHuge        // an aligned huge page's worth that will all be sent or zero in this round
	runKinds

	wantNow  = runData
	wantSoon = runZero
)

const (
	headerSize = 24
	runSize    = 12
	maxRuns    = 1024
	headRoom   = 16 << 10  // for the header and the runs, before the payload, which is page-aligned so
	frameBytes = 256 << 10 // pages of a frame: few enough to stay in a processor's cache on their way
	maxLayout  = 256 << 20 // bytes
	maxText    = 4096
	endOfUser  = 1 << 47
)

type run struct {
	start uint64
	pages uint32
	kind  uint8
}

func (r run) span() linux.Range {
	return linux.Range{Start: r.start, End: r.start + uint64(r.pages)*pageSize}
}

type frame struct {
	typ, code byte
	a, b      uint64
	runs      []run
	buf       []byte // headRoom, then the pages
	n         int    // bytes of pages in buf
	packed    []byte // headRoom, then the pages as they are sent, if code is a codec
	packedLen int
	sum       uint32 // checksum of the encoded runs
	wire      int    // bytes of the frame when it came
}

// room returns n bytes for the frame's pages.
func (f *frame) room(n int) []byte {
	if len(f.buf) < headRoom+n {
		f.buf = make([]byte, headRoom+n)
	}
	f.n = n
	return f.buf[headRoom : headRoom+n]
}

func (f *frame) data() []byte { return f.buf[headRoom : headRoom+f.n] }

var errFrame = errors.New("the peer sent a malformed frame of pages")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFrame, fmt.Sprintf(format, args...))
}

// encode returns the frame as one piece of bytes, within its own buffer.
func (f *frame) encode() []byte {
	buf, n := f.buf, f.n
	if f.typ == framePages && f.code != 0 {
		buf, n = f.packed, f.packedLen
	}
	if len(buf) < headRoom {
		buf, n = make([]byte, headRoom), 0
		f.buf = buf
	}
	table := len(f.runs) * runSize
	at := headRoom - table - headerSize
	h := buf[at:headRoom]
	h[0], h[1] = f.typ, f.code
	le := binary.LittleEndian
	le.PutUint16(h[2:], uint16(len(f.runs)))
	le.PutUint32(h[4:], uint32(n))
	le.PutUint64(h[8:], f.a)
	le.PutUint64(h[16:], f.b)
	for i, r := range f.runs {
		le.PutUint64(h[headerSize+i*runSize:], r.start|uint64(r.kind))
		le.PutUint32(h[headerSize+i*runSize+8:], r.pages)
	}
	f.sum = crc32.Checksum(h[headerSize:], castagnoli)
	return buf[at : headRoom+n]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// limit of a payload, by type; runs allowed, by type.
var limits = [frameTypes]struct {
	payload uint32
	runs    bool
}{
	frameBegin: {maxLayout, false},
	frameReady: {maxText, true},
	framePages: {frameBytes, true},
	frameLazy:  {0, true},
	frameAck:   {maxText, false},
	frameAbort: {maxText, false},
	frameWant:  {0, true},
}

// read reads the next frame. Its payload lies in f.buf, decompressed; memory is
// taken only for what has arrived.
func (f *frame) read(r io.Reader, un *unpacker) error {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	f.typ, f.code = head[0], head[1]
	f.a, f.b = le.Uint64(head[8:]), le.Uint64(head[16:])
	n, size := int(le.Uint16(head[2:])), le.Uint32(head[4:])
	f.runs, f.n, f.sum, f.wire = f.runs[:0], 0, 0, headerSize+n*runSize+int(size)
	if f.typ == 0 || f.typ >= frameTypes {
		return malformed("type %d", f.typ)
	}
	if lim := limits[f.typ]; size > lim.payload || n > maxRuns || n > 0 && !lim.runs {
		return malformed("type %d with %d runs and %d bytes", f.typ, n, size)
	}
	if err := f.readRuns(r, n); err != nil {
		return err
	}
	if f.typ != framePages {
		return f.readPlain(r, int(size))
	}
	raw := uint64(0)
	for _, r := range f.runs {
		if r.kind == runData {
			raw += uint64(r.pages) * pageSize
		}
	}
	if raw > frameBytes || f.a != raw || f.code == 0 && uint64(size) != raw {
		return malformed("runs of %d bytes with %d (%d)", raw, size, f.a)
	}
	if f.code == 0 {
		_, err := io.ReadFull(r, f.room(int(raw)))
		return noEOF(err)
	}
	if len(f.packed) < int(size) {
		f.packed = make([]byte, headRoom+frameBytes)
	}
	if _, err := io.ReadFull(r, f.packed[:size]); err != nil {
		return noEOF(err)
	}
	return un.unpack(f.code, f.packed[:size], f.room(int(raw)))
}

func (f *frame) readRuns(r io.Reader, n int) error {
	if n == 0 {
		return nil
	}
	var table [maxRuns * runSize]byte
	t := table[:n*runSize]
	if _, err := io.ReadFull(r, t); err != nil {
		return noEOF(err)
	}
	f.sum = crc32.Checksum(t, castagnoli)
	le := binary.LittleEndian
	for ; len(t) > 0; t = t[runSize:] {
		v, pages := le.Uint64(t), le.Uint32(t[8:])
		r := run{start: v &^ (pageSize - 1), kind: uint8(v & 0xff), pages: pages}
		if v&(pageSize-1) >= runKinds || pages == 0 || r.start >= endOfUser || r.span().End > endOfUser {
			return malformed("run %#x of %d pages", v, pages)
		}
		if r.kind == runHuge && (r.start%hugeSize != 0 || pages != hugeSize/pageSize) {
			return malformed("huge run %#x of %d pages", v, pages)
		}
		f.runs = append(f.runs, r)
	}
	return nil
}

// readPlain reads a payload that is not pages. A peer's word about its size is
// believed as the bytes arrive.
func (f *frame) readPlain(r io.Reader, size int) error {
	if size <= 1<<20 {
		_, err := io.ReadFull(r, f.room(size))
		return noEOF(err)
	}
	var b bytes.Buffer
	b.Write(make([]byte, headRoom))
	if _, err := io.CopyN(&b, r, int64(size)); err != nil {
		return noEOF(err)
	}
	f.buf, f.n = b.Bytes(), size
	return nil
}

// noEOF: the end of the stream inside a frame is not an orderly one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// text returns the payload as what the peer has to say.
func (f *frame) text() string {
	if f.n == 0 {
		return ""
	}
	return string(bytes.ToValidUTF8(f.data(), []byte("?")))
}

func textFrame(typ, code byte, text string) *frame {
	f := &frame{typ: typ, code: code}
	if len(text) > maxText {
		text = text[:maxText]
	}
	copy(f.room(len(text)), text)
	return f
}
