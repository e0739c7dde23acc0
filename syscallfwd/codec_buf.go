package syscallfwd

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
	// A recv waits for all only if told so; else what fits is enough.
	split := a.flags&argSplit != 0 && (a.flags&argRecv == 0 || e.parts)
	switch {
	case split:
		var err error
		if ptr, n, err = e.part(a, ptr, n); err != nil {
			return err
		}
		align, mode = alignment(ptr, n), mode|segData
	case a.flags&argClamp != 0:
		if room := uint64(e.limit) / 2 / uint64(a.Size); n > room*uint64(a.Size) {
			if a.flags&argRecv != 0 && e.guest[3]&msgWaitall != 0 {
				return ErrTooBig
			}
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
	case split && a.flags&argRecv == 0:
		v, err := e.faultVector(i, a, u, n)
		if err != nil {
			return err
		}
		e.addLater(Out{Len: uint32(u), Kind: OutResult}, -1, v, align)
		e.addSeg(ptr, uint32(u), mode)
		return nil
	}
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
