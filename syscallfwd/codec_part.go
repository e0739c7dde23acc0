package syscallfwd

// Data buffers in parts, and buffers that fault in their middle.

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
