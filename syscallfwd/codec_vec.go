package syscallfwd

// Arrays of struct iovec.

// Values of deferred.arg for ranges that no single word points to.
const (
	vecArray  = -2 // all bases of a vector point into it
	noPointer = -3 // it continues the range before it
)

// vecTarget says what points to a vector: argument arg, or the word at offset
// word of Data if arg is negative.
type vecTarget struct {
	arg  int
	word uint32
}

func (e *Encoder) point(t vecTarget, off uint32) {
	if t.arg >= 0 {
		e.setArg(t.arg, off)
	} else {
		e.setWord(t.word, off)
	}
}

func (e *Encoder) pointFault(t vecTarget, ptr, n uint64) {
	if t.arg >= 0 {
		e.call.Args[t.arg] = faulting(ptr, n)
	} else {
		e.putWord(t.word, faulting(ptr, n))
	}
}

func (e *Encoder) codeIovIn(i int, a *Arg) error {
	_, err := e.vector(vecTarget{arg: i}, e.guest[i], uint64(uint32(e.guest[a.Len])), a, false)
	return err
}

func (e *Encoder) codeIovOut(i int, a *Arg) error {
	_, err := e.vector(vecTarget{arg: i}, e.guest[i], uint64(uint32(e.guest[a.Len])), a, true)
	return err
}

// vector carries an iovec array of n entries: with the data it points to or,
// if fill is set, with room for them, which is one range for all entries.
// It returns the index of that range, -1 if there is none.
func (e *Encoder) vector(t vecTarget, ptr, n uint64, a *Arg, fill bool) (int, error) {
	if ptr == 0 {
		return -1, nil
	}
	if n > iovMax || !userRange(ptr, 16*n) {
		e.pointFault(t, ptr, 16*n) // too many: EINVAL or EMSGSIZE come first
		return -1, nil
	}
	off, got, err := e.load(ptr, 16*n, 8)
	if err != nil {
		return -1, err
	}
	if got < 16*n {
		e.unload(off)
		e.pointFault(t, ptr, 16*n)
		return -1, nil
	}
	e.point(t, off)
	if !e.checkVector(off, uint32(n)) {
		return -1, nil
	}
	switch {
	case e.parts:
		err = e.partVector(off, uint32(n))
	case a.Kind == KindMsgOut: // less room is no error for a stream, and no datagram is that big
		err = e.partVector(off, uint32(n))
		if e.more && e.guest[a.Len]&msgWaitall != 0 {
			err = ErrTooBig
		}
	}
	if err != nil {
		return -1, err
	}
	if fill {
		return e.fillVector(t, a, off, uint32(n))
	}
	return -1, e.loadVector(t, a, off, uint32(n))
}

// checkVector does what import_iovec does: false if the kernel will refuse the
// vector, whose bases then are made harmless. It also cuts the vector where
// the kernel does, at maxRW bytes.
func (e *Encoder) checkVector(off, n uint32) bool {
	total, bad := uint64(0), false
	for k := range n {
		w := off + 16*k
		base, size := e.word(w), e.word(w+8)
		if int64(size) < 0 { // EINVAL
			bad = true
			break
		}
		// With one entry the kernel cuts before it checks the range (import_ubuf).
		if n == 1 {
			size = min(size, maxRW)
		}
		if !userRange(base, size) { // EFAULT
			e.putWord(w, BadAddr)
			bad = true
			break
		}
		if size > maxRW-total {
			size = maxRW - total
		}
		e.putWord(w+8, size)
		total += size
	}
	if bad {
		for k := range n {
			if w := off + 16*k; e.word(w) != BadAddr {
				e.putWord(w, Unmapped)
			}
		}
	}
	return !bad
}

// partVector drops from a vector what earlier parts have moved and cuts it to
// what fits.
func (e *Encoder) partVector(off, n uint32) error {
	skip, room := e.done, e.room()
	room -= min(room, 512*uint64(n)) // each buffer may need aligning
	e.advanceOffset()
	for k := range n {
		w := off + 16*k
		base, size := e.word(w), e.word(w+8)
		s := min(skip, size)
		skip -= s
		base, size = base+s, size-s
		if size > room {
			if room == 0 && e.asked == 0 {
				return ErrTooBig
			}
			e.more, size = true, room
		}
		room -= size
		e.asked += size
		e.putWord(w, base)
		e.putWord(w+8, size)
	}
	return nil
}

// fillVector makes one range for all buffers of a vector, up to the first byte
// of memory that is not there.
func (e *Encoder) fillVector(t vecTarget, a *Arg, off, n uint32) (int, error) {
	total, good := uint64(0), uint32(0)
	for ; good < n; good++ {
		w := off + 16*good
		base, size := e.word(w), e.word(w+8)
		got := e.usable(base, size)
		if base == 0 {
			got = 0
		}
		total += got
		if got == size {
			continue
		}
		var err error
		if off, err = e.splitVector(t, a, off, n, good, got); err != nil {
			return -1, err
		}
		if got > 0 {
			good++
		}
		break
	}
	if total > uint64(e.limit) {
		return -1, ErrTooBig
	}
	if a.Kind != KindIovOut && e.guest[a.Len]&msgTrunc != 0 {
		return e.prefillVector(off, good, total)
	}
	index := len(e.call.Outs)
	align := uint32(8)
	if good > 0 {
		align = min(alignment(e.word(off), e.word(off+8)), 512)
	}
	e.later = append(e.later, deferred{out: uint32(index), align: align, word: off, arg: vecArray, n: good})
	e.call.Outs = append(e.call.Outs, Out{Len: uint32(total), Kind: OutResult})
	for k := range good {
		w := off + 16*k
		if size := e.word(w + 8); size > 0 {
			e.addSeg(e.word(w), uint32(size), segData)
		}
	}
	return index, nil
}

// prefillVector is the end of fillVector for MSG_TRUNC: the range holds what
// the guest has there now, because the kernel may return a length for data
// that it threw away.
func (e *Encoder) prefillVector(off, n uint32, total uint64) (int, error) {
	room, err := e.alloc(total, 8)
	if err != nil {
		return -1, err
	}
	index := len(e.call.Outs)
	e.call.Outs = append(e.call.Outs, Out{Off: room, Len: uint32(total), Kind: OutResult})
	for k := range n {
		w := off + 16*k
		base, size := e.word(w), e.word(w+8)
		p := e.call.Data[room:][:size]
		clear(p[e.read(base, p):])
		e.setWord(w, room)
		e.addSeg(base, uint32(size), segData)
		room += uint32(size)
	}
	return index, nil
}

// placeVector points the bases of a vector into the range at off, one after
// the other.
func (e *Encoder) placeVector(d *deferred, off uint32) {
	for k := range d.n {
		w := d.word + 16*k
		e.setWord(w, off)
		off += uint32(e.word(w + 8))
	}
}

// loadVector appends the data of a vector, up to the first byte that cannot be
// read.
func (e *Encoder) loadVector(t vecTarget, a *Arg, off, n uint32) error {
	for k := range n {
		w := off + 16*k
		base, size := e.word(w), e.word(w+8)
		if size == 0 {
			e.putWord(w, 0)
			continue
		}
		o, got, err := e.load(base, size, min(alignment(base, size), 512))
		if err != nil {
			return err
		}
		if got > 0 {
			e.setWord(w, o)
		}
		if got == size {
			continue
		}
		e.unload(o + uint32(got))
		_, err = e.splitVector(t, a, off, n, k, got)
		return err
	}
	return nil
}

// splitVector makes a vector fault at home where it does in the guest: after
// got bytes of entry k. It returns the place of the vector, which may have
// moved. Nothing is reached behind the fault.
func (e *Encoder) splitVector(t vecTarget, a *Arg, off, n, k uint32, got uint64) (uint32, error) {
	if got == 0 || k+2 > iovMax {
		for j := k; j < n; j++ {
			e.putWord(off+16*j, Unmapped)
		}
		return off, nil
	}
	rest := uint64(0)
	for j := k; j < n; j++ {
		rest += e.word(off + 16*j + 8)
	}
	to, err := e.alloc(16*uint64(k+2), 8)
	if err != nil {
		return 0, err
	}
	copy(e.call.Data[to:], e.call.Data[off:off+16*(k+1)])
	for _, r := range e.call.Relocs {
		if r >= off && r < off+16*(k+1) {
			e.call.Relocs = append(e.call.Relocs, to+r-off)
		}
	}
	e.putWord(to+16*k+8, got)
	e.putWord(to+16*(k+1), Unmapped)
	e.putWord(to+16*(k+1)+8, rest-got)
	// The old array is dead, but its words are still relocated: they stay valid.
	if t.arg >= 0 {
		e.setArg(t.arg, to)
		e.call.Args[a.Len] = uint64(k + 2)
	} else {
		e.putWord(t.word, uint64(to))
		e.putWord(t.word+8, uint64(k+2))
	}
	return to, nil
}
