package syscallfwd

// codeIoctl carries the argument of an ioctl: the command says what it is.
func codeIoctl(e *Encoder, i int, _ *Arg) error {
	cmd := uint32(e.guest[1])
	d, ok := ioctls[cmd]
	if !ok {
		d, ok = genericIoctl(cmd)
	}
	if !ok {
		return ErrUnsupported
	}
	switch d.kind {
	case ioValue:
		return nil
	case ioIn:
		if e.guest[i] == 0 {
			return nil
		}
		return e.carryIn(i, uint64(d.size), false)
	case ioOut: // both ways, so that what a driver leaves alone stays
		if e.guest[i] == 0 {
			return nil
		}
		return e.carryInOut(i, uint64(d.size), OutFixed, 0)
	}
	return d.fn(e, i)
}

// genericIoctl trusts the size in a command number for those kinds of devices
// whose structures hold no pointers.
func genericIoctl(cmd uint32) (ioctlDesc, bool) {
	const dirNone, dirWrite = 0, 1
	dir, size, typ := cmd>>30, cmd>>16&0x3fff, byte(cmd>>8)
	if !pointerFree[typ] || noGeneric[cmd&0xffff] {
		return ioctlDesc{}, false
	}
	switch {
	case dir == dirNone || size == 0:
		return ioctlDesc{}, false
	case dir == dirWrite:
		return ioctlDesc{kind: ioIn, size: uint16(size)}, true
	}
	return ioctlDesc{kind: ioOut, size: uint16(size)}, true
}

// ioctlIfconf carries struct ifconf: a length and a pointer to room for it.
func ioctlIfconf(e *Encoder, i int) error {
	const roomMax = 1 << 16
	ptr := e.guest[i]
	off, ok, err := e.loadHeader(i, 16, 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	n := e.word32(off)
	if int32(n) < 0 {
		n = 0
	}
	n = min(n, roomMax)
	if buf := e.word(off + 8); buf != 0 {
		if userRange(buf, uint64(n)) {
			e.addLater(Out{Len: n, Ref: off, Kind: OutWord32}, -1, off+8, 8)
			e.addSeg(buf, n, 0)
		} else {
			e.putWord(off+8, BadAddr)
		}
	}
	e.addOut(Out{Off: off, Len: 4}, ptr, segDiff)
	return nil
}

// ioctlFiemap carries struct fiemap with its array of extents.
func ioctlFiemap(e *Encoder, i int) error {
	const header, count, extent, most = 32, 24, 56, 4096
	return e.carryCounted(i, header, extent, most, func(h []byte) uint64 { return uint64(le32(h[count:])) })
}

// ioctlDedupe carries struct file_dedupe_range with its destinations.
func ioctlDedupe(e *Encoder, i int) error {
	const header, count, dest, most = 24, 16, 32, 127
	return e.carryCounted(i, header, dest, most, func(h []byte) uint64 { return uint64(h[count]) | uint64(h[count+1])<<8 })
}

// carryCounted carries, both ways, a header and the array behind it, whose
// length the header tells. More than most elements do not travel.
func (e *Encoder) carryCounted(i int, header int, elem, most uint64, count func([]byte) uint64) error {
	ptr := e.guest[i]
	if ptr == 0 {
		return nil
	}
	h, ok := e.readTmp(ptr, header)
	if !ok {
		e.fault(i, uint64(header))
		return nil
	}
	n := count(h)
	if n > most {
		return ErrUnsupported
	}
	return e.carryInOut(i, uint64(header)+n*elem, OutFixed, 0)
}

// ioctlLinux carries TIOCLINUX, whose first byte is a command of its own; some
// of them take pointers.
func ioctlLinux(e *Encoder, i int) error {
	p, ok := e.readTmp(e.guest[i], 1)
	if !ok {
		e.fault(i, 1)
		return nil
	}
	switch p[0] {
	case 4, 6, 7, 12, 14, 15: // unblank, shift state, mouse mode, foreground console, blank, kernel message
		return e.carryInOut(i, 1, OutFixed, 0)
	}
	return ErrUnsupported
}

// codeFcntl carries the argument of fcntl.
func codeFcntl(e *Encoder, i int, _ *Arg) error {
	const (
		getlk, setlk, setlkw          = 5, 6, 7
		setownEx, getownEx            = 15, 16
		getownerUids                  = 17
		ofdGetlk, ofdSetlk, ofdSetlkw = 36, 37, 38
		linuxSpecific                 = 1024
		getRwHint, setRwHint          = 1024 + 11, 1024 + 12
		getFileRwHint, setFileRwHint  = 1024 + 13, 1024 + 14
		flockSize                     = 32
	)
	ptr := e.guest[i]
	switch cmd := uint32(e.guest[1]); cmd {
	case getlk, ofdGetlk:
		if ptr != 0 {
			return e.carryInOut(i, flockSize, OutFixed, 0)
		}
	case setlk, setlkw, ofdSetlk, ofdSetlkw:
		if ptr != 0 {
			return e.carryIn(i, flockSize, false)
		}
	case setownEx, setRwHint, setFileRwHint:
		if ptr != 0 {
			return e.carryIn(i, 8, false)
		}
	case getownEx, getownerUids, getRwHint, getFileRwHint:
		if ptr != 0 {
			return e.carryInOut(i, 8, OutFixed, 0)
		}
	default:
		if cmd <= 11 || cmd >= linuxSpecific && cmd <= linuxSpecific+10 {
			return nil // a value
		}
		if cmd > linuxSpecific+14 && cmd < linuxSpecific+64 {
			return ErrUnsupported // newer than this table
		}
		// no such command: EINVAL, whatever the argument is
		e.call.Args[i] = 0
	}
	return nil
}
