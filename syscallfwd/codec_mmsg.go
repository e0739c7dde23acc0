package syscallfwd

// Arrays of messages (sendmmsg, recvmmsg), and the polling calls.

// mmsgCount is how many messages of an array are carried: the kernel takes no
// more than iovMax.
func (e *Encoder) mmsgCount(a *Arg) uint64 {
	return min(uint64(uint32(e.guest[2])), iovMax)
}

func (e *Encoder) codeMmsgIn(i int, a *Arg) error {
	if err := e.zeroCopy(a); err != nil {
		return err
	}
	n := e.mmsgCount(a)
	off, ok, err := e.loadHeader(i, mmsghdrSize, n)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	for k := range uint32(n) {
		h := off + mmsghdrSize*k
		if _, err := e.message(h, a, false); err != nil {
			return err
		}
		e.addOut(Out{Kind: OutGate, Ref: k, Len: 1}, 0, 0)
		e.addOut(Out{Off: h + mmsgLen, Len: 4}, e.guest[i]+mmsghdrSize*uint64(k)+mmsgLen, 0)
	}
	return nil
}

func (e *Encoder) codeMmsgOut(i int, a *Arg) error {
	n := e.mmsgCount(a)
	off, ok, err := e.loadHeader(i, mmsghdrSize, n)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	for k := range uint32(n) {
		h := off + mmsghdrSize*k
		ptr := e.guest[i] + mmsghdrSize*uint64(k)
		gate := len(e.call.Outs)
		e.addOut(Out{Kind: OutGate, Ref: k}, 0, 0)
		data, err := e.message(h, a, true)
		if err != nil {
			return err
		}
		if data >= 0 { // its length is not the result but the message's own
			o := &e.call.Outs[data]
			o.Kind, o.Ref = OutWord32, h+mmsgLen
			for s := range e.call.segs {
				if g := &e.call.segs[s]; g.out == uint32(data) {
					g.mode &^= segData
				}
			}
		}
		e.headerOuts(h, ptr)
		e.addOut(Out{Off: h + mmsgLen, Len: 4}, ptr+mmsgLen, 0)
		e.call.Outs[gate].Len = uint32(len(e.call.Outs) - gate - 1)
	}
	return nil
}

// codeFdSet carries an fd_set of argument 0 bits, in whole words. The kernel
// reads no more than its descriptor table is long, which is not known here: a
// set that is readable for less than the caller claims is taken as it is.
func (e *Encoder) codeFdSet(i int, a *Arg) error {
	const maxBytes = 1 << 17 // fs.nr_open by default
	ptr, n := e.guest[i], int32(e.guest[0])
	if ptr == 0 || n < 0 {
		e.fault(i, 1)
		return nil
	}
	bytes := min((uint64(n)+63)/64*8, maxBytes)
	if !userRange(ptr, bytes) {
		e.fault(i, bytes)
		return nil
	}
	off, got, err := e.load(ptr, bytes, 8)
	if err != nil {
		return err
	}
	if got < 8 && got < bytes {
		e.unload(off)
		e.fault(i, bytes)
		return nil
	}
	e.setArg(i, off)
	e.addOut(Out{Off: off, Len: uint32(got)}, ptr, segDiff)
	return nil
}

// codePollFds carries an array of struct pollfd. The kernel writes revents
// even when a signal ended the call.
func (e *Encoder) codePollFds(i int, a *Arg) error {
	const maxFds = 1 << 20 // RLIMIT_NOFILE cannot exceed it: EINVAL comes first
	ptr, n := e.guest[i], uint64(uint32(e.guest[a.Len]))
	if ptr == 0 || n > maxFds || !userRange(ptr, 8*n) {
		e.fault(i, 8*n)
		return nil
	}
	off, got, err := e.load(ptr, 8*n, 8)
	if err != nil {
		return err
	}
	if got < 8*n {
		e.unload(off)
		e.fault(i, 8*n)
		return nil
	}
	e.setArg(i, off)
	e.addOut(Out{Off: off, Len: uint32(8 * n), Kind: OutFixed | OutAlways}, ptr, segRevents)
	return nil
}

// codeSigmaskTemp carries the temporary mask of ppoll and epoll_pwait, whose
// size is the argument after it: not at all, the guest applies it. Only one the
// kernel would refuse travels, as something it refuses.
func (e *Encoder) codeSigmaskTemp(i int, a *Arg) error {
	if ptr := e.guest[i]; ptr != 0 {
		if _, ok := e.readTmp(ptr, 8); ok && e.guest[a.Len] == 8 {
			e.call.Args[i] = 0
		} else {
			e.fault(i, 8)
		}
	}
	return nil
}

// codeSigmaskPair does the same for pselect6, whose argument points to a pair
// of mask pointer and size.
func (e *Encoder) codeSigmaskPair(i int, _ *Arg) error {
	ptr := e.guest[i]
	if ptr == 0 {
		return nil
	}
	p, ok := e.readTmp(ptr, 16)
	if !ok {
		e.fault(i, 16)
		return nil
	}
	mask, n := le64(p), le64(p[8:])
	if mask == 0 {
		e.call.Args[i] = 0
		return nil
	}
	if _, ok := e.readTmp(mask, 8); ok && n == 8 {
		e.call.Args[i] = 0
		return nil
	}
	off, err := e.alloc(16, 8)
	if err != nil {
		return err
	}
	e.putWord(off, faulting(mask, 8))
	e.putWord(off+8, n)
	e.setArg(i, off)
	return nil
}

// TempSigmask returns the temporary signal mask that a call carries (ppoll,
// pselect6, epoll_pwait, epoll_pwait2): Marshal leaves it to the guest to
// apply. ok is false if there is none, or one that the kernel will refuse.
func TempSigmask(entry *Entry, args [6]uint64, mem Memory) (mask uint64, ok bool) {
	for i := range entry.Args {
		a := &entry.Args[i]
		ptr, n := args[i], uint64(8)
		var b [16]byte
		switch a.Kind {
		case KindSigmaskPair:
			if ptr == 0 || !readFull(mem, ptr, b[:]) {
				return 0, false
			}
			ptr, n = le64(b[:]), le64(b[8:])
		case KindSigmaskTemp:
			n = args[a.Len]
		default:
			continue
		}
		if ptr == 0 || n != 8 || !readFull(mem, ptr, b[:8]) {
			return 0, false
		}
		return le64(b[:]), true
	}
	return 0, false
}

func readFull(mem Memory, addr uint64, p []byte) bool {
	if !userRange(addr, uint64(len(p))) {
		return false
	}
	n, _ := mem.Read(addr, p)
	return n >= len(p)
}
