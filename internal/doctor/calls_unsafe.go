package doctor

import (
	"errors"
	"fmt"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args, clone(2), with set_tid.
type cloneArgs struct {
	_                                                                    structs.HostLayout
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
	tids                                                                 *int32
	tidsLen, cgroup                                                      uint64
}

// trySetTID asks for a child with our own pid. The kernel looks at the right to
// choose first (EPERM), then finds the number taken (EEXIST): no child is made.
func trySetTID() error {
	tid := int32(1)
	args := cloneArgs{exitSignal: uint64(unix.SIGCHLD), tids: &tid, tidsLen: 1}
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	switch errno {
	case unix.EEXIST:
		return nil
	case 0:
		return errors.New("the kernel made a child with a number in use")
	}
	return fmt.Errorf("clone3: %w", errno)
}

// installFilter gives this thread a seccomp filter and returns its listener.
func installFilter(prog []unix.SockFilter, flags uintptr) (int, error) {
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, fmt.Errorf("install a filter: %w", errno)
	}
	return int(fd), nil
}

// mmMapSize asks whether PR_SET_MM_MAP exists, PR_SET_MM(2const).
func mmMapSize() (int, error) {
	var size uint32
	if err := unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_MAP_SIZE, uintptr(unsafe.Pointer(&size)), 0, 0); err != nil {
		return 0, fmt.Errorf("prctl: %w", err)
	}
	return int(size), nil
}

// addressOf is where a mapping starts.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// victimWord is what the tracer must find in the victim.
const victimWord = 0x686f6d696e67

var victimMemory uint64 = victimWord

func victimWordAddr() uint64 { return uint64(uintptr(unsafe.Pointer(&victimMemory))) }
