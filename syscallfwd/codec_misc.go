package syscallfwd

// Calls whose arguments are shaped by a command or by a size inside a
// structure.

// codeSockopt carries the value of setsockopt (fill false) or getsockopt.
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

// codeKcmp carries the slot of KCMP_EPOLL_TFD.
func codeKcmp(e *Encoder, i int, _ *Arg) error {
	const epollTfd = 7
	if uint32(e.guest[2]) == epollTfd {
		return e.carryIn(i, 12, false)
	}
	return nil
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

// codeReboot carries the command string of LINUX_REBOOT_CMD_RESTART2.
func codeReboot(e *Encoder, i int, _ *Arg) error {
	const restart2 = 0xa1b2c3d4
	if uint32(e.guest[2]) == restart2 {
		return e.carryStr(i)
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

// codeSendFlags refuses MSG_ZEROCOPY, see zeroCopy.
func codeSendFlags(e *Encoder, i int, _ *Arg) error {
	return e.zeroCopy(&Arg{Len: int8(i)})
}
