package syscallfwd

// Calls about processes whose arguments are shaped by a command or by a size
// inside a structure.

// codePrctl carries the argument of the options that have a pointer and are
// not about memory.
func codePrctl(e *Encoder, i int, _ *Arg) error {
	const setPdeathsig, getPdeathsig, setName, getName, getSubreaper = 1, 2, 15, 16, 37
	switch PrctlClass(e.guest[0]) {
	case Repatriate, Local:
		return ErrUnsupported
	}
	switch uint32(e.guest[0]) {
	case getPdeathsig, getSubreaper:
		return e.carryInOut(i, 4, OutFixed, 0)
	case setName:
		return e.carryIn(i, 16, true)
	case getName:
		return e.carryInOut(i, 16, OutFixed, 0)
	}
	return nil
}

// PrctlClass says who executes an option of prctl(2).
func PrctlClass(option uint64) Class {
	switch uint32(option) {
	case 1, 2, // PDEATHSIG
		3,    // GET_DUMPABLE
		7, 8, // KEEPCAPS
		16,     // GET_NAME
		21,     // GET_SECCOMP: the guest's own filter is no business of the program
		23, 24, // CAPBSET
		27, 28, // SECUREBITS
		36, 37, // CHILD_SUBREAPER
		39,     // GET_NO_NEW_PRIVS
		47,     // CAP_AMBIENT
		57, 58, // IO_FLUSHER
		0x59616d61: // SET_PTRACER
		return Forward
	case 4, // SET_DUMPABLE
		15,     // SET_NAME
		29, 30, // TIMERSLACK: home sleeps for the program
		38: // SET_NO_NEW_PRIVS
		return Both
	case 5, 6, 9, 10, 11, 12, 13, 14, 19, 20, // alignment, FPU, timing, endianness
		25, 26, // TSC
		33, 34, // MCE_KILL
		40,     // GET_TID_ADDRESS
		41, 42, // THP_DISABLE
		43, 44, // MPX
		45, 46, 48, 49, 50, 51, 54, 55, 56, // FP mode, vector lengths, pointer tags
		52, 53, // SPECULATION_CTRL
		63, 64, // SME
		65, 66, // MDWE
		67, 68, // MEMORY_MERGE
		78,         // FUTEX_HASH
		0x41555856, // GET_AUXV
		0x53564d41: // SET_VMA
		return Local
	}
	return Repatriate // PR_SET_MM, PR_SET_SECCOMP, SYSCALL_USER_DISPATCH, core scheduling, what is not known
}

// codePersonality lets a question pass; to change the personality is a matter
// of memory layout and of execve.
func codePersonality(e *Encoder, _ int, _ *Arg) error {
	if uint32(e.guest[0]) != 0xffff_ffff {
		return ErrUnsupported
	}
	return nil
}

// codeUnshare lets pass what concerns the shadow's tables only. New
// namespaces would change what home means for the process.
func codeUnshare(e *Encoder, _ int, _ *Arg) error {
	const files, fs, sysvsem = 0x400, 0x200, 0x40000
	if e.guest[0]&^(files|fs|sysvsem) != 0 {
		return ErrUnsupported
	}
	return nil
}

// codeCapHeader carries struct __user_cap_header_struct, whose version the
// kernel replaces when it does not know it.
func codeCapHeader(e *Encoder, i int, _ *Arg) error {
	off, ok, err := e.loadHeader(i, 8, 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	e.addOut(Out{Off: off, Len: 4, Kind: OutFixed | OutAlways}, e.guest[i], segDiff)
	return nil
}

// capSize is the size of the data that goes with the header of argument 0.
func (e *Encoder) capSize() uint64 {
	const version1, elem = 0x19980330, 12
	if e.call.ArgReloc&1 != 0 && e.word32(uint32(e.call.Args[0])) == version1 {
		return elem
	}
	return 2 * elem
}

func codeCapGet(e *Encoder, i int, _ *Arg) error {
	return e.carryInOut(i, e.capSize(), OutFixed, 0)
}

func codeCapSet(e *Encoder, i int, _ *Arg) error { return e.carryIn(i, e.capSize(), false) }

// codeSchedAttr carries struct sched_attr, which tells its own size; the
// kernel corrects it when it is wrong.
func codeSchedAttr(e *Encoder, i int, _ *Arg) error {
	const first = 48 // SCHED_ATTR_SIZE_VER0
	p, ok := e.readTmp(e.guest[i], 4)
	if !ok {
		e.fault(i, 4)
		return nil
	}
	n := le32(p)
	if n < first || n > pageSize {
		n = first
	}
	off, ok, err := e.loadHeader(i, uint64(n), 1)
	if err != nil || !ok {
		return err
	}
	e.setArg(i, off)
	e.addOut(Out{Off: off, Len: 4, Kind: OutFixed | OutAlways}, e.guest[i], segDiff|segSoft)
	return nil
}

// codeSizedOut carries a buffer and the word after it that says how big it is
// (lsm_get_self_attr, lsm_list_modules).
func codeSizedOut(e *Encoder, i int, _ *Arg) error {
	const most = 1 << 16
	sizePtr := e.guest[i+1]
	off, ok, err := e.loadHeader(i+1, 4, 1)
	if err != nil || !ok {
		e.fault(i, 1)
		return err
	}
	e.setArg(i+1, off)
	n := min(uint64(e.word32(off)), most)
	e.putWord32(off, uint32(n))
	if err := e.carryInOut(i, n, OutFixed, 0); err != nil {
		return err
	}
	e.addOut(Out{Off: off, Len: 4, Kind: OutFixed | OutAlways}, sizePtr, segDiff)
	return nil
}

// codeKcmp carries the slot of KCMP_EPOLL_TFD.
func codeKcmp(e *Encoder, i int, _ *Arg) error {
	const epollTfd = 7
	if uint32(e.guest[2]) == epollTfd {
		return e.carryIn(i, 12, false)
	}
	return nil
}

// codeReboot carries the command string of LINUX_REBOOT_CMD_RESTART2.
func codeReboot(e *Encoder, i int, _ *Arg) error {
	const restart2 = 0xa1b2c3d4
	if uint32(e.guest[2]) == restart2 {
		return e.carryStr(i)
	}
	return nil
}

// keyctlShape says what an operation's arguments 1 to 4 are: s string, b in
// buffer and o out buffer with its size in the next argument, v value.
var keyctlShape = map[uint32]string{
	0: "vvvv", 1: "svvv", 2: "vbvv", 3: "vvvv", 4: "vvvv", 5: "vvvv", 6: "vovv", 7: "vvvv", 8: "vvvv",
	9: "vvvv", 10: "vssv", 11: "vovv", 12: "vbvv", 13: "vvvv", 14: "vvvv", 15: "vvvv", 16: "vvvv",
	17: "vovv", 18: "vvvv", 19: "vvvv", 21: "vvvv", 22: "vvvv", 29: "vssv", 30: "vvvv", 31: "ovvv", 32: "vvvv",
}

// codeKeyctl carries the arguments of keyctl; it is attached to argument 1.
func codeKeyctl(e *Encoder, _ int, _ *Arg) error {
	const most = 1 << 20 // KEYCTL_UPDATE and INSTANTIATE refuse more
	shape, ok := keyctlShape[uint32(e.guest[0])]
	if !ok {
		return ErrUnsupported
	}
	for k := range len(shape) {
		i := k + 1
		var err error
		switch shape[k] {
		case 's':
			err = e.carryStr(i)
		case 'b':
			if n := e.guest[i+1]; n < most {
				err = e.carryIn(i, n, false)
			}
		case 'o':
			if n := e.guest[i+1]; e.guest[i] != 0 && n > 0 {
				n = min(n, most)
				e.call.Args[i+1] = n
				err = e.carryInOut(i, n, OutResult, 0)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// codeRemain makes room for the rest of a clock_nanosleep, which an absolute
// one does not write.
func codeRemain(e *Encoder, i int, _ *Arg) error {
	const timerAbstime, timespecSize = 1, 16
	ptr := e.guest[i]
	switch {
	case ptr == 0 || e.guest[1]&timerAbstime != 0:
		e.call.Args[i] = 0
	case !userRange(ptr, timespecSize):
		e.call.Args[i] = BadAddr
	default:
		e.addLater(Out{Len: timespecSize, Kind: OutFixed | OutInterrupted}, i, 0, 8)
		e.addSeg(ptr, timespecSize, segMust)
	}
	return nil
}

// codeSendFlags refuses MSG_ZEROCOPY, see zeroCopy.
func codeSendFlags(e *Encoder, i int, _ *Arg) error {
	return e.zeroCopy(&Arg{Len: int8(i)})
}
