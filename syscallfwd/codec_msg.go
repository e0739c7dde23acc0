package syscallfwd

// Vectors, sockets' messages and addresses.

const (
	iovMax      = 1024 // UIO_MAXIOV
	sockaddrMax = 128  // sizeof(struct sockaddr_storage)
	maxRW       = 0x7fff_f000
	controlMax  = 1 << 20
)

// Flags of send and recv that matter here.
const (
	msgTrunc    = 0x20 // TCP throws the data away, the result is their length
	msgWaitall  = 0x100
	msgZerocopy = 0x400_0000
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
