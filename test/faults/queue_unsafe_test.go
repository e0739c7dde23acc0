package faults_test

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queue sends it a numbered signal.
func (v *victim) queue(t *testing.T, which int, n *int) {
	t.Helper()
	var info [128]byte
	sig := 34 + which
	binary.LittleEndian.PutUint32(info[0:], uint32(sig))
	binary.LittleEndian.PutUint32(info[8:], uint32(0xffffffff)) // SI_QUEUE
	binary.LittleEndian.PutUint32(info[16:], uint32(os.Getpid()))
	binary.LittleEndian.PutUint32(info[24:], uint32(*n))
	if _, _, errno := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(v.pid), uintptr(sig), uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		t.Fatalf("sigqueue: %v", errno)
	}
	*n++
}
