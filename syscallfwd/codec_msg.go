package syscallfwd

// Vectors, sockets' messages and addresses.

const (
	iovMax      = 1024 // UIO_MAXIOV
	sockaddrMax = 128  // sizeof(struct sockaddr_storage)
	maxRW       = 0x7fff_f000
	controlMax  = 1 << 20
)

// Offsets in struct msghdr (56 bytes) and mmsghdr (64).
const (
	msgName       = 0
	msgNamelen    = 8
	msgIov        = 16
	msgIovlen     = 24
	msgControl    = 32
	msgControllen = 40
	msgFlags      = 48
	msghdrSize    = 56
	mmsgLen       = 56
	mmsghdrSize   = 64
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
		if off, n, err = e.splitVector(t, a, off, n, good, got); err != nil {
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

// Values of deferred.arg for ranges that no single word points to.
const (
	vecArray  = -2 // all bases of a vector point into it
	noPointer = -3 // it continues the range before it
)

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
		_, _, err = e.splitVector(t, a, off, n, k, got)
		return err
	}
	return nil
}

// splitVector makes a vector fault at home where it does in the guest: after
// got bytes of entry k. It returns the place and length of the vector, which
// may have moved. Nothing is reached behind the fault.
func (e *Encoder) splitVector(t vecTarget, a *Arg, off, n, k uint32, got uint64) (uint32, uint32, error) {
	if got == 0 || k+2 > iovMax {
		for j := k; j < n; j++ {
			e.putWord(off+16*j, Unmapped)
		}
		return off, n, nil
	}
	rest := uint64(0)
	for j := k; j < n; j++ {
		rest += e.word(off + 16*j + 8)
	}
	to, err := e.alloc(16*uint64(k+2), 8)
	if err != nil {
		return 0, 0, err
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
	return to, k + 2, nil
}

// codeSockaddr carries an address that the kernel writes and its length word,
// which says how much room there is and then how long the address was.
func (e *Encoder) codeSockaddr(i int, a *Arg) error {
	ptr, lenPtr := e.guest[i], e.guest[i+1]
	if lenPtr == 0 {
		if ptr != 0 {
			e.call.Args[i] = Unmapped
		}
		return nil
	}
	off, got, err := e.load(lenPtr, 4, 8)
	if err != nil {
		return err
	}
	if got < 4 {
		e.unload(off)
		e.fault(i+1, 4)
		if ptr != 0 {
			e.call.Args[i] = Unmapped
		}
		return nil
	}
	e.setArg(i+1, off)
	room := e.word32(off)
	if int32(room) < 0 {
		room = 0 // EINVAL
	}
	room = min(room, a.Max)
	switch {
	case ptr == 0:
	case !userRange(ptr, uint64(room)):
		e.call.Args[i] = BadAddr
	case room > 0 && e.usable(ptr, uint64(room)) == 0:
		e.call.Args[i] = Unmapped
	default:
		e.addLater(Out{Len: room, Ref: off, Kind: OutWord32}, i, 0, 8)
		e.addSeg(ptr, room, 0)
	}
	e.addOut(Out{Off: off, Len: 4}, lenPtr, segDiff)
	return nil
}

func (e *Encoder) codeMsgIn(i int, a *Arg) error {
	off, ok, err := e.loadHeader(i, msghdrSize, 1)
	if err != nil || !ok {
		return err
	}
	if err := e.zeroCopy(a); err != nil {
		return err
	}
	e.setArg(i, off)
	_, err = e.message(off, a, false)
	return err
}

func (e *Encoder) codeMsgOut(i int, a *Arg) error {
	off, ok, err := e.loadHeader(i, msghdrSize, 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	if _, err := e.message(off, a, true); err != nil {
		return err
	}
	e.headerOuts(off, e.guest[i])
	return nil
}

// headerOuts sends back what recvmsg changes in the msghdr at offset h of Data.
func (e *Encoder) headerOuts(h uint32, ptr uint64) {
	e.addOut(Out{Off: h + msgNamelen, Len: 4}, ptr+msgNamelen, segDiff)
	e.addOut(Out{Off: h + msgControllen, Len: 8}, ptr+msgControllen, segDiff)
	e.addOut(Out{Off: h + msgFlags, Len: 4}, ptr+msgFlags, segDiff)
}

// zeroCopy refuses MSG_ZEROCOPY: the home kernel would go on reading the image
// after the call.
func (e *Encoder) zeroCopy(a *Arg) error {
	const msgZerocopy = 0x400_0000
	if e.guest[a.Len]&msgZerocopy != 0 {
		return ErrUnsupported
	}
	return nil
}

// loadHeader loads n structures of size bytes at argument i.
func (e *Encoder) loadHeader(i int, size, n uint64) (uint32, bool, error) {
	ptr := e.guest[i]
	if ptr == 0 || !userRange(ptr, size*n) {
		e.fault(i, size*n)
		return 0, false, nil
	}
	off, got, err := e.load(ptr, size*n, 8)
	if err != nil {
		return 0, false, err
	}
	if got < size*n {
		e.unload(off)
		e.fault(i, size*n)
		return 0, false, nil
	}
	return off, true, nil
}

// message carries what the msghdr at offset h of Data points to. It returns
// the index of the range for data, -1 if there is none.
func (e *Encoder) message(h uint32, a *Arg, fill bool) (int, error) {
	if e.done > 0 { // went with the first part
		e.putWord(h+msgControl, 0)
		e.putWord(h+msgControllen, 0)
	}
	if err := e.msgPart(h+msgName, uint64(e.nameRoom(h)), h+msgNamelen, fill); err != nil {
		return -1, err
	}
	control := e.word(h + msgControllen)
	if control > controlMax { // ENOBUFS comes first
		e.putWord(h+msgControl, faulting(e.word(h+msgControl), 1))
	} else if err := e.msgPart(h+msgControl, control, h+msgControllen, fill); err != nil {
		return -1, err
	}
	t := vecTarget{arg: -1, word: h + msgIov}
	return e.vector(t, e.word(h+msgIov), e.word(h+msgIovlen), a, fill)
}

// nameRoom is how much of the name's buffer the kernel uses.
func (e *Encoder) nameRoom(h uint32) uint32 {
	n := e.word32(h + msgNamelen)
	if int32(n) < 0 {
		return 0 // EINVAL
	}
	return min(n, sockaddrMax)
}

// msgPart carries a name or control buffer of n bytes: w is its pointer,
// length the word that says afterwards how much was filled.
func (e *Encoder) msgPart(w uint32, n uint64, length uint32, fill bool) error {
	ptr := e.word(w)
	switch {
	case ptr == 0:
		return nil
	case !userRange(ptr, n):
		e.putWord(w, BadAddr)
		return nil
	case n == 0:
		e.putWord(w, Unmapped)
		return nil
	case fill && e.usable(ptr, n) == 0:
		e.putWord(w, Unmapped)
		return nil
	case fill:
		e.addLater(Out{Len: uint32(n), Ref: length, Kind: OutWord32}, -1, w, 8)
		e.addSeg(ptr, uint32(n), 0)
		return nil
	}
	off, got, err := e.load(ptr, n, 8)
	if err != nil {
		return err
	}
	if got < n {
		e.unload(off)
		e.putWord(w, Unmapped)
		return nil
	}
	e.setWord(w, off)
	return nil
}
