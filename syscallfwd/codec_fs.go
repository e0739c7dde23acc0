package syscallfwd

// Calls about files and file systems whose arguments are shaped by a command or
// by a size inside a structure.

// handleMax is MAX_HANDLE_SZ: a bigger struct file_handle is EINVAL.
const handleMax = 128

// codeHandleOut carries struct file_handle for name_to_handle_at, which
// fills it or says how big it must be.
func codeHandleOut(e *Encoder, i int, _ *Arg) error {
	p, ok := e.readTmp(e.guest[i], 8)
	if !ok {
		e.fault(i, 8)
		return nil
	}
	n := le32(p)
	if n > handleMax {
		n = 0
	}
	return e.carryInOut(i, 8+uint64(n), OutFixed|OutAlways, 0)
}

// codeHandleIn carries struct file_handle for open_by_handle_at.
func codeHandleIn(e *Encoder, i int, _ *Arg) error {
	p, ok := e.readTmp(e.guest[i], 8)
	if !ok {
		e.fault(i, 8)
		return nil
	}
	n := le32(p)
	if n > handleMax {
		n = 0
	}
	return e.carryIn(i, 8+uint64(n), false)
}

// codeMountID carries the mount id of name_to_handle_at, whose size is a flag.
func codeMountID(e *Encoder, i int, _ *Arg) error {
	const unique = 1 // AT_HANDLE_MNT_ID_UNIQUE
	n := uint64(4)
	if e.guest[4]&unique != 0 {
		n = 8
	}
	return e.carryInOut(i, n, OutFixed|OutAlways, 0)
}

// codeSized carries a structure whose first word is its size.
func codeSized(e *Encoder, i int, _ *Arg) error {
	p, ok := e.readTmp(e.guest[i], 4)
	if !ok {
		e.fault(i, 4)
		return nil
	}
	n := uint64(le32(p))
	if n < 4 || n > pageSize {
		n = 4 // EINVAL or E2BIG
	}
	return e.carryIn(i, n, false)
}

// codeXattrArgs carries struct xattr_args: a pointer to the value, its size,
// flags. The size of the structure is argument 5.
func codeXattrArgs(e *Encoder, i int, a *Arg) error {
	const xattrSizeMax = 1 << 16
	n := e.guest[5]
	if n < 16 || n > pageSize {
		n = 16 // EINVAL or E2BIG
	}
	off, ok, err := e.loadHeader(i, n, 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	ptr, size := e.word(off), uint64(e.word32(off+8))
	if ptr == 0 {
		return nil
	}
	get := a.flags&argPrefill != 0
	switch {
	case get:
		size = min(size, xattrSizeMax)
		if !userRange(ptr, size) {
			e.putWord(off, BadAddr)
			return nil
		}
		e.addLater(Out{Len: uint32(size), Kind: OutResult}, -1, off, 8)
		e.addSeg(ptr, uint32(size), 0)
		return nil
	case size > xattrSizeMax:
		e.putWord(off, Unmapped) // E2BIG
		return nil
	}
	val, got, err := e.load(ptr, size, 8)
	if err != nil {
		return err
	}
	if got < size {
		e.unload(val)
		e.putWord(off, faulting(ptr, size))
		return nil
	}
	e.setWord(off, val)
	return nil
}

// codePage carries the data of mount: up to a page, as much as is readable.
func codePage(e *Encoder, i int, _ *Arg) error { return e.carryIn(i, pageSize, true) }

// codeFsconfig carries the value of fsconfig, by command.
func codeFsconfig(e *Encoder, i int, _ *Arg) error {
	const setString, setBinary, setPath, setPathEmpty = 1, 2, 3, 4
	switch uint32(e.guest[1]) {
	case setString, setPath, setPathEmpty:
		return e.carryStr(i)
	case setBinary:
		if n := int32(e.guest[4]); n > 0 && n <= 1<<20 {
			return e.carryIn(i, uint64(n), false)
		}
	}
	return nil
}

// codeLandlockRule carries the rule of landlock_add_rule, by type.
func codeLandlockRule(e *Encoder, i int, _ *Arg) error {
	const pathBeneath, netPort = 1, 2
	switch uint32(e.guest[1]) {
	case pathBeneath:
		return e.carryIn(i, 12, false)
	case netPort:
		return e.carryIn(i, 16, false)
	}
	return ErrUnsupported
}

// codeSysfs carries the name that sysfs(1, name) looks up.
func codeSysfs(e *Encoder, i int, _ *Arg) error {
	switch uint32(e.guest[0]) {
	case 1:
		return e.carryStr(i)
	case 2:
		return ErrUnsupported
	}
	return nil
}

// codeQuota carries the structure of quotactl, by command.
func codeQuota(e *Encoder, i int, a *Arg) error {
	const (
		qSync, qQuotaon, qQuotaoff                          = 0x800001, 0x800002, 0x800003
		qGetfmt, qGetinfo, qSetinfo, qGetquota, qSetquota   = 0x800004, 0x800005, 0x800006, 0x800007, 0x800008
		qGetnextquota                                       = 0x800009
		xQuotaon, xQuotaoff, xGetquota, xSetqlim, xGetqstat = 0x5801, 0x5802, 0x5803, 0x5804, 0x5805
		xQuotarm, xQuotasync, xGetnextquota                 = 0x5806, 0x5807, 0x5809
		sizeInfo, sizeDqblk, sizeXfsQuota, sizeXfsStat      = 24, 72, 112, 80
		cmdShift                                            = 8
	)
	out := func(n uint64) error { return e.carryInOut(i, n, OutFixed, 0) }
	switch uint32(e.guest[a.Size]) >> cmdShift {
	case qQuotaon:
		return e.carryStr(i)
	case qSync, qQuotaoff, xQuotasync:
		return nil
	case qGetfmt:
		return out(4)
	case qGetinfo:
		return out(sizeInfo)
	case qSetinfo:
		return e.carryIn(i, sizeInfo, false)
	case qGetquota, qGetnextquota:
		return out(sizeDqblk)
	case qSetquota:
		return e.carryIn(i, sizeDqblk, false)
	case xQuotaon, xQuotaoff, xQuotarm:
		return e.carryIn(i, 4, false)
	case xGetquota, xGetnextquota:
		return out(sizeXfsQuota)
	case xSetqlim:
		return e.carryIn(i, sizeXfsQuota, false)
	case xGetqstat:
		return out(sizeXfsStat)
	}
	return ErrUnsupported
}

// codeStatmount makes room for struct statmount, whose first word says how
// much of it was filled.
func codeStatmount(e *Encoder, i int, _ *Arg) error {
	const most = 1 << 20
	ptr, n := e.guest[i], min(e.guest[2], most)
	if ptr == 0 || !userRange(ptr, n) || n < 4 {
		e.fault(i, n)
		return nil
	}
	n = min(n, uint64(e.limit)/2)
	e.call.Args[2] = n
	e.addLater(Out{Len: uint32(n), Ref: refSelf, Kind: OutWord32}, i, 0, 8)
	e.addSeg(ptr, uint32(n), 0)
	return nil
}
