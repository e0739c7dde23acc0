package shadow

import "unsafe"

// addressOf tells where mapped memory lies.
func addressOf(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) }
