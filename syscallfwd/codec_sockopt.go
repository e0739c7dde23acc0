package syscallfwd

// codeSetsockopt carries the value of setsockopt.
// Options whose value holds pointers are unpacked or refused.
func codeSetsockopt(e *Encoder, i int, _ *Arg) error {
	const most = 1 << 16
	level, name, n := uint32(e.guest[1]), uint32(e.guest[2]), int32(e.guest[4])
	if e.guest[i] == 0 || n < 0 {
		e.fault(i, 1)
		return nil
	}
	switch sockoptClass(level, name) {
	case optFilter:
		if n == 16 {
			return e.filterProgram(i)
		}
	case optPointers:
		return ErrUnsupported
	}
	return e.carryIn(i, min(uint64(n), most), true)
}

type optClass uint8

const (
	optPlain optClass = iota
	optFilter
	optPointers
)

// sockoptClass says which options hold pointers.
func sockoptClass(level, name uint32) optClass {
	const (
		solIP, solSocket, solTCP, solIPv6, solSCTP, solPacket, solXDP, solCAN = 0, 1, 6, 41, 132, 263, 283, 101

		soAttachFilter, soAttachReuseportCBPF = 26, 51
		packetFanoutData                      = 22
		sctpConnectx3                         = 111
		tcpZerocopyReceive                    = 35
		netfilterFirst, netfilterLast         = 64, 79
	)
	switch level {
	case solSocket:
		if name == soAttachFilter || name == soAttachReuseportCBPF {
			return optFilter
		}
	case solIP, solIPv6:
		if name == netfilterFirst { // IPT_SO_SET_REPLACE
			return optPointers
		}
	case solTCP:
		if name == tcpZerocopyReceive {
			return optPointers
		}
	case solPacket:
		if name == packetFanoutData {
			return optPointers
		}
	case solSCTP:
		if name == sctpConnectx3 {
			return optPointers
		}
	case solXDP:
		return optPointers
	}
	return optPlain
}

// filterProgram carries struct sock_fprog: a count and a pointer to that many
// instructions of 8 bytes.
func (e *Encoder) filterProgram(i int) error {
	off, ok, err := e.loadHeader(i, 16, 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	n, ptr := uint64(uint16(e.word32(off))), e.word(off+8)
	if ptr == 0 {
		return nil
	}
	prog, got, err := e.load(ptr, 8*n, 8)
	if err != nil {
		return err
	}
	if got < 8*n {
		e.unload(prog)
		e.putWord(off+8, faulting(ptr, 8*n))
		return nil
	}
	e.setWord(off+8, prog)
	return nil
}

// codeGetsockopt carries the value both ways, because some options read it
// first, and its length word.
func codeGetsockopt(e *Encoder, i int, _ *Arg) error {
	const most, soGetFilter = 1 << 16, 26
	level, name := uint32(e.guest[1]), uint32(e.guest[2])
	if sockoptClass(level, name) == optPointers || level == 1 && name == soGetFilter {
		return ErrUnsupported
	}
	ptr, lenPtr := e.guest[i], e.guest[i+1]
	off, ok, err := e.loadHeader(i+1, 4, 1)
	if err != nil || !ok {
		e.fault(i, 1)
		return err
	}
	e.setArg(i+1, off)
	n := min(max(int32(e.word32(off)), 0), most)
	if n == most {
		e.putWord32(off, most)
	}
	if ptr != 0 {
		val, got, err := e.load(ptr, uint64(n), 8)
		if err != nil {
			return err
		}
		if got == 0 && n > 0 || !userRange(ptr, 0) {
			e.unload(val)
			e.fault(i, uint64(n))
		} else {
			e.setArg(i, val)
			e.addOut(Out{Off: val, Len: uint32(got), Ref: off, Kind: OutWord32}, ptr, segDiff)
		}
	}
	e.addOut(Out{Off: off, Len: 4, Kind: OutFixed | OutAlways}, lenPtr, segDiff)
	return nil
}
