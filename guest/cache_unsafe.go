package guest

import "unsafe"

// addressOf is where a piece of this process's memory lies.
func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }
