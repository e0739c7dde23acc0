package syscallfwd

// System V and POSIX message queues, semaphores, shared memory segments.

// Commands of the ctl calls, and sizes of their structures.
const (
	ipcSet, ipcStat, ipcInfo = 1, 2, 3

	msgStat, msgInfo, msgStatAny                  = 11, 12, 13
	shmStat, shmInfo, shmStatAny                  = 13, 14, 15
	semStat, semInfo, semStatAny                  = 18, 19, 20
	semGetall, semSetall                          = 13, 17
	sizeMsqid, sizeShmid, sizeSemid               = 120, 112, 104
	sizeMsginfo, sizeShminfo, sizeShmUse, sizeSem = 32, 72, 48, 40
)

// ctl carries the structure of an IPC_… command: stat structures of n bytes.
func (e *Encoder) ctl(i int, cmd uint32, n, info uint64, stats ...uint32) error {
	if e.guest[i] == 0 {
		return nil
	}
	switch cmd {
	case ipcSet:
		return e.carryIn(i, n, false)
	case ipcStat:
		return e.carryInOut(i, n, OutFixed, 0)
	case ipcInfo:
		return e.carryInOut(i, info, OutFixed, 0)
	}
	for _, s := range stats {
		if s == cmd {
			return e.carryInOut(i, n, OutFixed, 0)
		}
	}
	return nil
}

func codeMsgctl(e *Encoder, i int, _ *Arg) error {
	cmd := uint32(e.guest[1])
	if cmd == msgInfo {
		cmd = ipcInfo
	}
	return e.ctl(i, cmd, sizeMsqid, sizeMsginfo, msgStat, msgStatAny)
}

func codeShmctl(e *Encoder, i int, _ *Arg) error {
	cmd := uint32(e.guest[1])
	if cmd == shmInfo {
		return e.ctl(i, ipcInfo, sizeShmid, sizeShmUse)
	}
	return e.ctl(i, cmd, sizeShmid, sizeShminfo, shmStat, shmStatAny)
}

func codeSemctl(e *Encoder, i int, _ *Arg) error {
	cmd := uint32(e.guest[2])
	switch cmd {
	case semGetall, semSetall:
		return e.semAll(i, cmd == semGetall)
	case semInfo:
		cmd = ipcInfo
	}
	return e.ctl(i, cmd, sizeSemid, sizeSem, semStat, semStatAny)
}

// semAll carries the values of all semaphores of a set. Only home knows how
// many there are: as much as is readable travels, up to twice the default of
// SEMMSL, and only what changed comes back.
func (e *Encoder) semAll(i int, get bool) error {
	const most = 2 * 32000 * 2
	ptr := e.guest[i]
	if ptr == 0 || !userRange(ptr, 2) {
		e.fault(i, 2)
		return nil
	}
	off, got, err := e.load(ptr, min(most, taskSize-ptr), 8)
	if err != nil {
		return err
	}
	if got < 2 {
		e.unload(off)
		e.fault(i, 2)
		return nil
	}
	e.setArg(i, off)
	if get {
		e.addOut(Out{Off: off, Len: uint32(got)}, ptr, segDiff)
	}
	return nil
}

// codeMsgsnd carries struct msgbuf: the type word and argument 2 bytes of text.
func codeMsgsnd(e *Encoder, i int, _ *Arg) error {
	n := e.guest[2]
	if e.guest[i] == 0 {
		return nil
	}
	if int64(n) < 0 {
		n = 0 // EINVAL
	}
	if n > taskSize-8 || !userRange(e.guest[i], 8+n) {
		return e.carryIn(i, 8, false)
	}
	off, got, err := e.load(e.guest[i], 8+n, 8)
	switch {
	case err != nil:
		return err
	case got >= 8+n || got >= 8 && int64(e.word(off)) < 1: // a bad type is found before the text is read
		e.setArg(i, off)
	default:
		e.unload(off)
		e.fault(i, 8)
	}
	return nil
}

// codeMsgrcv makes room for struct msgbuf.
func codeMsgrcv(e *Encoder, i int, _ *Arg) error {
	ptr, n := e.guest[i], e.guest[2]
	if ptr == 0 || int64(n) < 0 {
		e.fault(i, 8)
		return nil
	}
	if room := uint64(e.limit) / 2; n > room {
		n = room
		e.call.Args[2] = n
	}
	if !userRange(ptr, 8+n) {
		e.fault(i, 8+n)
		return nil
	}
	// One object, two ranges: the type, and as much text as the result says.
	base := uint32(len(e.call.Outs))
	e.addLater(Out{Len: 8}, i, 0, 8)
	e.addSeg(ptr, 8, 0)
	e.later = append(e.later, deferred{out: base + 1, align: 8, arg: noPointer})
	e.call.Outs = append(e.call.Outs, Out{Len: uint32(n), Kind: OutResult})
	e.addSeg(ptr+8, uint32(n), 0)
	return nil
}

// codeMqNotify carries struct sigevent, which for SIGEV_THREAD points to a
// cookie of 32 bytes.
func codeMqNotify(e *Encoder, i int, _ *Arg) error {
	const sigeventSize, notifyOff, sigevThread, cookieSize = 64, 12, 2, 32
	if err := e.carryIn(i, sigeventSize, false); err != nil || e.call.ArgReloc&(1<<i) == 0 {
		return err
	}
	off := uint32(e.call.Args[i])
	if e.word32(off+notifyOff) != sigevThread {
		return nil
	}
	ptr := e.word(off)
	cookie, got, err := e.load(ptr, cookieSize, 8)
	switch {
	case err != nil:
		return err
	case got == cookieSize:
		e.setWord(off, cookie)
	default:
		e.unload(cookie)
		e.putWord(off, faulting(ptr, cookieSize))
	}
	return nil
}
