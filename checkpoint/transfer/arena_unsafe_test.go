package transfer

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmapAt maps fresh memory at an address that is free.
func mmapAt(at uintptr, size uintptr) ([]byte, error) {
	const fixedNoReplace = 0x100000
	p, err := unix.MmapPtr(-1, 0, unsafe.Add(unsafe.Pointer(nil), at), size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|fixedNoReplace)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), size), nil
}
