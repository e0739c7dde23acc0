package syscallfwd

import (
	"bytes"
	"encoding/binary"
)

// Strings and arrays of strings.

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
