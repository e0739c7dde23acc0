package syscallfwd

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Memory is a guest's memory. Both methods return how many bytes were
// transferred before the first fault, as process_vm_readv(2) does.
type Memory interface {
	Read(addr uint64, p []byte) (int, error)
	Write(addr uint64, p []byte) (int, error)
}

// Errors of Marshal. Every other difficulty is for the home kernel to report.
var (
	// ErrTooBig: the image would exceed the limit. A splittable call can be
	// made in parts (MarshalPart), any other comes home.
	ErrTooBig = errors.New("syscallfwd: call too big for one image")
	// ErrUnsupported: the call cannot be carried; it comes home.
	ErrUnsupported = errors.New("syscallfwd: call cannot be forwarded")
)

// seg says where (a part of) a range goes in guest memory.
type seg struct {
	addr uint64
	out  uint32 // index of the range
	len  uint32
	mode segMode
}

type segMode uint8

const (
	segSoft    segMode = 1 << iota // a fault does not matter
	segData                        // a fault shortens the result
	segDiff                        // only what changed since Marshal is written
	segRevents                     // only revents of struct pollfd
	segMust                        // a fault matters even when the call failed
)

// deferred is a range behind Data whose place is known only at the end.
type deferred struct {
	out   uint32
	align uint32
	word  uint32 // offset of the word in Data that points to it, if arg is negative
	arg   int8
	n     uint32 // entries of the vector at word, if arg is vecArray
}

// Encoder marshals the calls of one guest thread. The zero value is ready. The
// Call that Marshal returns, and all it refers to, is valid until the next
// Marshal; after the first calls nothing is allocated.
type Encoder struct {
	call  Call
	mem   Memory
	limit uint32
	guest [6]uint64 // the arguments as the guest passed them
	done  uint64    // bytes of a split call that earlier parts have moved
	parts bool      // take what fits
	more  bool      // something was left out
	asked uint64    // bytes this part asks for
	later []deferred
	tmp   [128]byte
	str   strCache
	good  [64]uint64 // pages lately seen mapped, by the low bits of their number
}

// Marshal makes the call entry with these arguments self-contained, reading
// what it needs from mem. The image will not exceed maxImage bytes.
// The only errors are ErrTooBig and ErrUnsupported.
func (e *Encoder) Marshal(entry *Entry, tid int32, args [6]uint64, mem Memory, maxImage uint32) (*Call, error) {
	e.parts, e.done = false, 0
	return e.marshal(entry, tid, args, mem, maxImage)
}

// MarshalPart is Marshal for one part of a splittable call whose first done
// bytes have been moved already: it takes as many of the rest as fit. The
// caller adds up the results and stops at the first that is an error or
// smaller than part, or when more is false. After an error or a signal what
// was moved before is the result.
//
// Writes may always go on. A read may only if the file has an offset (lseek
// gives no ESPIPE): after a full first part of a pipe, socket or terminal the
// next could block where the kernel would have returned.
func (e *Encoder) MarshalPart(entry *Entry, tid int32, args [6]uint64, mem Memory, maxImage uint32, done uint64) (c *Call, part uint64, more bool, err error) {
	if !entry.Splittable() {
		c, err = e.Marshal(entry, tid, args, mem, maxImage)
		return c, 0, false, err
	}
	e.parts, e.done = true, done
	c, err = e.marshal(entry, tid, args, mem, maxImage)
	if err != nil {
		return nil, 0, false, err
	}
	return c, e.asked, e.more, nil
}

func (e *Encoder) marshal(entry *Entry, tid int32, args [6]uint64, mem Memory, maxImage uint32) (*Call, error) {
	c := &e.call
	c.Seq, c.TID, c.NR, c.Flags, c.Args, c.ArgReloc, c.Size = 0, tid, entry.Nr, 0, args, 0, 0
	c.Relocs, c.Data, c.Outs, c.segs = c.Relocs[:0], c.Data[:0], c.Outs[:0], c.segs[:0]
	if entry.Class == Local || entry.Class == Repatriate {
		return nil, ErrUnsupported
	}
	if !entry.pointers {
		return c, nil
	}
	e.mem, e.limit, e.guest, e.more = mem, min(maxImage, MaxImage), args, false
	e.asked = 0
	e.later, e.str.n = e.later[:0], 0
	for i := range entry.Args {
		a := &entry.Args[i]
		if a.Kind <= KindAddr {
			continue
		}
		f := a.fn
		if a.Kind != KindCustom {
			f = codecs[a.Kind]
		}
		if f == nil {
			continue
		}
		if err := f(e, i, a); err != nil {
			return nil, err
		}
	}
	if err := e.finish(); err != nil {
		return nil, err
	}
	return c, nil
}

// finish gives the deferred ranges their places behind Data.
func (e *Encoder) finish() error {
	c := &e.call
	end := uint64(len(c.Data))
	for i := range e.later {
		d := &e.later[i]
		o := &c.Outs[d.out]
		end = roundUp(end, uint64(d.align))
		if end+uint64(o.Len) > uint64(e.limit) {
			return ErrTooBig
		}
		o.Off = uint32(end)
		if o.Kind == OutWord32 && o.Ref == refSelf {
			o.Ref = o.Off
		}
		switch {
		case d.arg >= 0:
			e.setArg(int(d.arg), o.Off)
		case d.arg == vecArray:
			e.placeVector(d, o.Off)
		case d.arg == noPointer:
		default:
			e.setWord(d.word, o.Off)
		}
		end += uint64(o.Len)
	}
	c.Size = uint32(end)
	return nil
}

// refSelf is the Ref of a range that begins with its own length.
const refSelf = 1<<32 - 1

func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// alloc appends n bytes to Data, zero only in the padding before them, and
// returns their offset.
func (e *Encoder) alloc(n uint64, align uint32) (uint32, error) {
	d := e.call.Data
	off := roundUp(uint64(len(d)), uint64(align))
	if n > uint64(e.limit) || off+n > uint64(e.limit) {
		return 0, ErrTooBig
	}
	if end := int(off + n); end > cap(d) {
		d = slices.Grow(d, end-len(d))
	}
	e.call.Data = d[:off+n]
	clear(e.call.Data[len(d):off])
	return uint32(off), nil
}

// load appends n bytes of guest memory to Data. got may be less than n: the
// rest is zero.
func (e *Encoder) load(addr, n uint64, align uint32) (off uint32, got uint64, err error) {
	off, err = e.alloc(n, align)
	if err != nil {
		return 0, 0, err
	}
	p := e.call.Data[off:]
	g := 0
	if userRange(addr, n) && n > 0 {
		g = e.read(addr, p)
	}
	clear(p[g:])
	return off, uint64(g), nil
}

// unload takes back what the last alloc or load appended.
func (e *Encoder) unload(off uint32) { e.call.Data = e.call.Data[:off] }

// read reads guest memory and returns how many bytes it got.
func (e *Encoder) read(addr uint64, p []byte) int {
	n, _ := e.mem.Read(addr, p)
	return max(0, min(n, len(p)))
}

// readTmp reads a small structure into the encoder's own buffer.
func (e *Encoder) readTmp(addr uint64, n int) ([]byte, bool) {
	p := e.tmp[:n]
	if !userRange(addr, uint64(n)) || e.read(addr, p) != n {
		return nil, false
	}
	return p, true
}

func (e *Encoder) setArg(i int, off uint32) {
	e.call.Args[i] = uint64(off)
	e.call.ArgReloc |= 1 << i
}

// setWord makes the word at offset w of Data a pointer to offset off.
func (e *Encoder) setWord(w, off uint32) {
	binary.LittleEndian.PutUint64(e.call.Data[w:], uint64(off))
	e.call.Relocs = append(e.call.Relocs, w)
}

// word returns the 64-bit word at offset w of Data.
func (e *Encoder) word(w uint32) uint64 { return binary.LittleEndian.Uint64(e.call.Data[w:]) }

func (e *Encoder) word32(w uint32) uint32 { return binary.LittleEndian.Uint32(e.call.Data[w:]) }

func (e *Encoder) putWord(w uint32, v uint64) {
	binary.LittleEndian.PutUint64(e.call.Data[w:], v)
}

// addOut adds a range of Data, and where it goes in the guest.
func (e *Encoder) addOut(o Out, addr uint64, mode segMode) {
	e.call.segs = append(e.call.segs, seg{addr: addr, out: uint32(len(e.call.Outs)), len: o.Len, mode: mode})
	e.call.Outs = append(e.call.Outs, o)
}

// addLater adds a range behind Data. Argument arg points to it or, if arg is
// negative, the word at offset word of Data.
func (e *Encoder) addLater(o Out, arg int, word, align uint32) {
	e.later = append(e.later, deferred{out: uint32(len(e.call.Outs)), align: align, word: word, arg: int8(arg)})
	e.call.Outs = append(e.call.Outs, o)
}

// addSeg sends n bytes of the range added last to addr.
func (e *Encoder) addSeg(addr uint64, n uint32, mode segMode) {
	e.call.segs = append(e.call.segs, seg{addr: addr, out: uint32(len(e.call.Outs) - 1), len: n, mode: mode})
}

// userRange reports whether the kernel would accept the range at all.
func userRange(addr, n uint64) bool { return addr <= taskSize && n <= taskSize-addr }

// faulting returns what a pointer that cannot be served becomes at home.
func faulting(addr, n uint64) uint64 {
	switch {
	case addr == 0:
		return 0
	case userRange(addr, n):
		return Unmapped
	}
	return BadAddr
}

// fault makes argument i a pointer that faults at home as it does here.
func (e *Encoder) fault(i int, n uint64) { e.call.Args[i] = faulting(e.guest[i], n) }

// alignment of a data buffer inside the image: that of the guest's, as far as
// O_DIRECT may ask for it.
func alignment(addr, n uint64) uint32 {
	if n < 512 || addr&511 != 0 || n&511 != 0 {
		return 8
	}
	if addr&4095 == 0 {
		return 4096
	}
	return 512
}

func le64(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

func le32(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }

func (e *Encoder) putWord32(w, v uint32) {
	binary.LittleEndian.PutUint32(e.call.Data[w:], v)
}
