package syscallfwd

import (
	"bytes"
	"encoding/binary"
)

// codecs maps a Kind to its function; nil ones travel as values.
var codecs = [numKinds]codec{
	KindStr:         (*Encoder).codeStr,
	KindIn:          (*Encoder).codeIn,
	KindInData:      (*Encoder).codeInData,
	KindOut:         (*Encoder).codeOut,
	KindOutData:     (*Encoder).codeOutData,
	KindInOut:       (*Encoder).codeInOut,
	KindSockaddr:    (*Encoder).codeSockaddr,
	KindIovIn:       (*Encoder).codeIovIn,
	KindIovOut:      (*Encoder).codeIovOut,
	KindMsgIn:       (*Encoder).codeMsgIn,
	KindMsgOut:      (*Encoder).codeMsgOut,
	KindMmsgIn:      (*Encoder).codeMmsgIn,
	KindMmsgOut:     (*Encoder).codeMmsgOut,
	KindFdSet:       (*Encoder).codeFdSet,
	KindPollFds:     (*Encoder).codePollFds,
	KindSigmaskTemp: (*Encoder).codeSigmaskTemp,
	KindSigmaskPair: (*Encoder).codeSigmaskPair,
	KindStrArray:    (*Encoder).codeStrArray,
}

// pathMax is PATH_MAX; no string but those of execve may be longer.
const pathMax = 4096

// count returns the number of elements that argument a names. ok is false when
// it is a C int below 0, which the kernel rejects before it looks at memory.
func (e *Encoder) count(a *Arg) (n uint64, ok bool) {
	if a.Len < 0 {
		return 1, true
	}
	n = e.guest[a.Len]
	if a.flags&argLen32 != 0 {
		n = uint64(uint32(n))
		if a.flags&argSigned != 0 && int32(n) < 0 {
			return 0, false
		}
	}
	return n, true
}

// span returns how many bytes the kernel may touch through argument a. ok is
// false when it refuses the number before it touches any.
func (e *Encoder) span(a *Arg) (n uint64, ok bool) {
	n, ok = e.count(a)
	if n > taskSize {
		n = taskSize + 1 // in no address space; keeps the product in range
	}
	n *= uint64(a.Size)
	if a.Max > 0 && n > uint64(a.Max) {
		n = uint64(a.Max)
		ok = ok && a.flags&argRefused == 0
	}
	return n, ok
}

// codeIn carries an object that must be readable as a whole.
func (e *Encoder) codeIn(i int, a *Arg) error {
	n, ok := e.span(a)
	if e.guest[i] == 0 {
		return nil
	}
	if !ok {
		e.fault(i, 1)
		return nil
	}
	return e.carryIn(i, n, a.flags&argPartial != 0)
}

// carryIn makes argument i point to a copy of the n bytes it points to.
func (e *Encoder) carryIn(i int, n uint64, partial bool) error {
	if e.guest[i] == 0 {
		return nil
	}
	if !userRange(e.guest[i], n) {
		e.fault(i, n)
		return nil
	}
	off, got, err := e.load(e.guest[i], n, 8)
	if err != nil {
		return err
	}
	if got < n && !(partial && got > 0) {
		e.unload(off)
		e.fault(i, n)
		return nil
	}
	e.setArg(i, off)
	return nil
}

// codeInData carries a data buffer: of one that is readable only in part the
// kernel takes that part.
func (e *Encoder) codeInData(i int, a *Arg) error {
	n, _ := e.span(a)
	ptr := e.guest[i]
	if ptr == 0 || !userRange(ptr, n) {
		e.fault(i, n)
		return nil
	}
	ptr, n, err := e.part(a, ptr, n)
	if err != nil {
		return err
	}
	off, got, err := e.load(ptr, n, alignment(ptr, n))
	if err != nil {
		return err
	}
	if got == n {
		e.setArg(i, off)
		return nil
	}
	if got == 0 || vectored(e.call.NR) == 0 {
		e.unload(off)
		e.call.Args[i] = Unmapped
		return nil
	}
	e.unload(off + uint32(got))
	v, err := e.faultVector(i, a, got, n)
	if err == nil {
		e.setWord(v, off)
	}
	return err
}

// vectored returns the call with a vector for one with a single buffer, 0 if
// there is none.
func vectored(nr uint32) uint32 {
	switch nr {
	case nrRead:
		return nrReadv
	case nrWrite:
		return nrWritev
	case nrPread64:
		return nrPreadv
	case nrPwrite64:
		return nrPwritev
	}
	return 0
}

// faultVector turns a call with a buffer of n bytes, of which only the first
// got exist, into one with a vector whose second entry faults: what the kernel
// does then differs between files and pipes. It returns where the first base
// belongs.
func (e *Encoder) faultVector(i int, a *Arg, got, n uint64) (uint32, error) {
	v, err := e.alloc(32, 8)
	if err != nil {
		return 0, err
	}
	e.putWord(v+8, got)
	e.putWord(v+16, Unmapped)
	e.putWord(v+24, n-got)
	e.setArg(i, v)
	e.call.Args[a.Len] = 2
	e.call.Args[4] = 0 // high half of the offset
	e.call.NR = vectored(e.call.NR)
	return v, nil
}

// part selects what of a buffer goes into this call, when it is made in parts.
func (e *Encoder) part(a *Arg, ptr, n uint64) (uint64, uint64, error) {
	if !e.parts {
		return ptr, n, nil
	}
	skip := min(e.done, n)
	ptr, n = ptr+skip, n-skip
	if room := e.room(); n > room {
		if room == 0 {
			return 0, 0, ErrTooBig
		}
		n, e.more = room, true
	}
	e.advanceOffset()
	e.asked = n
	e.call.Args[a.Len] = n
	return ptr, n, nil
}

// room is how many bytes of data one part may take: whole pages, with space
// left for aligning them.
func (e *Encoder) room() uint64 {
	used := uint64(len(e.call.Data)) + pageSize
	if uint64(e.limit) <= used {
		return 0
	}
	room := uint64(e.limit) - used
	if room > pageSize {
		room &^= pageSize - 1
	}
	return room
}

// advanceOffset moves the file offset of the positioned calls past what
// earlier parts have moved; −1 means the file's own offset.
func (e *Encoder) advanceOffset() {
	if e.done == 0 {
		return
	}
	switch e.call.NR {
	case nrPread64, nrPwrite64, nrPreadv, nrPwritev, nrPreadv2, nrPwritev2:
		if pos := int64(e.guest[3]); pos >= 0 {
			e.call.Args[3] = uint64(pos) + e.done
		}
	}
}

// Calls that a codec must know by number; those from nrPread64 on carry a file
// offset in argument 3.
const (
	nrRead     = 0
	nrWrite    = 1
	nrReadv    = 19
	nrWritev   = 20
	nrPread64  = 17
	nrPwrite64 = 18
	nrPreadv   = 295
	nrPwritev  = 296
	nrPreadv2  = 327
	nrPwritev2 = 328
)

// codeOut makes room for an object that the kernel writes.
func (e *Encoder) codeOut(i int, a *Arg) error {
	n, ok := e.span(a)
	ptr := e.guest[i]
	switch {
	case ptr == 0:
		return nil
	case !ok:
		e.fault(i, 1)
		return nil
	case !userRange(ptr, n):
		e.fault(i, n)
		return nil
	case n > uint64(e.limit):
		return ErrTooBig
	case a.flags&argPrefill != 0:
		return e.carryInOut(i, n, a.outKind(), a.segMode())
	case e.usable(ptr, n) < n:
		e.fault(i, n)
		return nil
	}
	e.addLater(Out{Len: uint32(n), Kind: a.outKind()}, i, 0, 8)
	e.addSeg(ptr, uint32(n), a.segMode())
	return nil
}

// outKind and segMode translate an argument's flags.
func (a *Arg) outKind() OutKind {
	switch {
	case a.flags&argAlways != 0:
		return OutFixed | OutAlways
	case a.flags&argOnIntr != 0:
		return OutFixed | OutInterrupted
	case a.flags&argPos != 0:
		return OutFixed | OutPositive
	}
	return OutFixed
}

func (a *Arg) segMode() segMode {
	m := segMode(0)
	if a.flags&argSoft != 0 {
		m |= segSoft
	}
	if a.flags&(argOnIntr|argMust) != 0 {
		m |= segMust
	}
	return m
}

// codeOutData makes room for data whose amount the result tells.
func (e *Encoder) codeOutData(i int, a *Arg) error {
	n, ok := e.span(a)
	ptr := e.guest[i]
	switch {
	case ptr == 0:
		return nil
	case !ok:
		e.fault(i, 1)
		return nil
	case !userRange(ptr, n):
		e.fault(i, n)
		return nil
	}
	kind, ref, align, mode := OutResult, uint32(0), uint32(8), a.segMode()
	if a.Size > 1 {
		kind, ref = OutTimes, a.Size
	}
	switch {
	case a.flags&argSplit != 0:
		var err error
		if ptr, n, err = e.part(a, ptr, n); err != nil {
			return err
		}
		align, mode = alignment(ptr, n), mode|segData
	case a.flags&argClamp != 0:
		if room := uint64(e.limit) / 2 / uint64(a.Size); n > room*uint64(a.Size) {
			n = room * uint64(a.Size)
			e.call.Args[a.Len] = room
		}
	}
	if n > uint64(e.limit) {
		return ErrTooBig
	}
	switch u := e.usable(ptr, n); {
	case u == n:
	case u == 0:
		e.fault(i, n)
		return nil
	case a.flags&argSplit != 0:
		v, err := e.faultVector(i, a, u, n)
		if err != nil {
			return err
		}
		e.addLater(Out{Len: uint32(u), Kind: OutResult}, -1, v, align)
		e.addSeg(ptr, uint32(u), mode)
		return nil
	}
	const msgTrunc = 0x20 // TCP throws the data away, the result is their length
	if a.flags&argPrefill != 0 || a.flags&argRecv != 0 && e.guest[3]&msgTrunc != 0 {
		return e.carryInOut(i, n, kind, mode)
	}
	e.addLater(Out{Len: uint32(n), Ref: ref, Kind: kind}, i, 0, align)
	e.addSeg(ptr, uint32(n), mode)
	return nil
}

// codeInOut carries an object both ways.
func (e *Encoder) codeInOut(i int, a *Arg) error {
	n, ok := e.span(a)
	if e.guest[i] == 0 {
		return nil
	}
	if !ok {
		e.fault(i, 1)
		return nil
	}
	return e.carryInOut(i, n, a.outKind(), a.segMode())
}

// carryInOut makes argument i point to a copy of n bytes that comes back.
func (e *Encoder) carryInOut(i int, n uint64, kind OutKind, mode segMode) error {
	if e.guest[i] == 0 {
		return nil
	}
	if !userRange(e.guest[i], n) {
		e.fault(i, n)
		return nil
	}
	off, got, err := e.load(e.guest[i], n, 8)
	if err != nil {
		return err
	}
	if got < n {
		e.unload(off)
		e.fault(i, n)
		return nil
	}
	e.setArg(i, off)
	e.addOut(Out{Off: off, Len: uint32(n), Kind: kind}, e.guest[i], mode|segDiff)
	return nil
}

func (e *Encoder) codeStr(i int, _ *Arg) error { return e.carryStr(i) }

// carryStr makes argument i point to a copy of its string.
func (e *Encoder) carryStr(i int) error {
	if e.guest[i] == 0 {
		return nil
	}
	off, ok, err := e.loadStr(e.guest[i], pathMax)
	if err != nil {
		return err
	}
	if !ok {
		e.fault(i, 1)
		return nil
	}
	e.setArg(i, off)
	return nil
}

// strCache holds the guest memory read last for a string: strings stand next
// to each other, and each read of guest memory is a system call.
type strCache struct {
	addr uint64
	n    int
	buf  [pageSize]byte
}

const pageSize = 4096

// window returns what can be read at addr without leaving its page; first is
// how much to try when nothing is cached.
func (e *Encoder) window(addr uint64, first int) []byte {
	s := &e.str
	if addr >= s.addr && addr < s.addr+uint64(s.n) {
		return s.buf[addr-s.addr : s.n]
	}
	n := min(first, pageSize-int(addr%pageSize))
	if !userRange(addr, uint64(n)) {
		return nil
	}
	s.addr, s.n = addr, 0
	s.n = e.read(addr, s.buf[:n])
	return s.buf[:s.n]
}

// loadStr appends a string with its NUL to Data. A string longer than limit is
// cut there and has no NUL. ok is false when it cannot be read.
func (e *Encoder) loadStr(addr uint64, limit int) (off uint32, ok bool, err error) {
	off, err = e.alloc(0, 8)
	if err != nil {
		return 0, false, err
	}
	first := 256
	for total := 0; total <= limit; first = pageSize {
		w := e.window(addr+uint64(total), first)
		if len(w) == 0 {
			e.unload(off)
			return 0, false, nil
		}
		nul := bytes.IndexByte(w, 0)
		if nul >= 0 {
			w = w[:nul+1]
		}
		if _, err := e.alloc(uint64(len(w)), 1); err != nil {
			return 0, false, err
		}
		copy(e.call.Data[int(off)+total:], w)
		if nul >= 0 {
			return off, true, nil
		}
		total += len(w)
	}
	return off, true, nil
}

// readWord reads one word through the string cache.
func (e *Encoder) readWord(addr uint64) (uint64, bool) {
	if w := e.window(addr, pageSize); len(w) >= 8 {
		return binary.LittleEndian.Uint64(w), true
	}
	p, ok := e.readTmp(addr, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(p), true
}

// codeStrArray carries argv or envp: first the array with the guest's
// pointers, then the strings, which replace them.
func (e *Encoder) codeStrArray(i int, _ *Arg) error {
	const maxArgStrlen = 128 << 10 // MAX_ARG_STRLEN of the kernel
	ptr := e.guest[i]
	if ptr == 0 {
		return nil
	}
	off, n, err := e.loadPointers(ptr)
	if err != nil {
		return err
	}
	for k := range n {
		w := off + 8*k
		p := e.word(w)
		s, ok, err := e.loadStr(p, maxArgStrlen)
		switch {
		case err != nil:
			return err
		case !ok:
			e.putWord(w, faulting(p, 1))
		default:
			e.setWord(w, s)
		}
	}
	e.setArg(i, off)
	return nil
}

// loadPointers appends a NULL-terminated array of pointers to Data and returns
// how many stand before the NULL. Where the array faults stands a pointer that
// faults.
func (e *Encoder) loadPointers(ptr uint64) (off, n uint32, err error) {
	if off, err = e.alloc(0, 8); err != nil {
		return 0, 0, err
	}
	for {
		v, ok := e.readWord(ptr + 8*uint64(n))
		if !ok {
			v = Unmapped
		}
		w, err := e.alloc(8, 8)
		if err != nil {
			return 0, 0, err
		}
		e.putWord(w, v)
		if v == 0 {
			return off, n, nil
		}
		n++
		if !ok {
			if w, err = e.alloc(8, 8); err != nil {
				return 0, 0, err
			}
			e.putWord(w, 0)
			return off, n, nil
		}
	}
}
