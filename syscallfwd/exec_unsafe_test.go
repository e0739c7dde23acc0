package syscallfwd

import (
	"syscall"
	"testing"
	"unsafe"
)

// testImage is how much room an image gets in tests.
const testImage = 1 << 20

// newImage is memory as a shadow has it: page-aligned, and full of rubbish.
func newImage(n int) []byte {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		panic(err)
	}
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

var image = newImage(testImage)

// forwarded makes a call the way a guest's is made: marshalled from mem, over
// the wire, placed, executed here, and scattered back.
func forwarded(t testing.TB, mem Memory, name string, args ...uint64) int64 {
	t.Helper()
	entry := LookupName(name)
	if entry == nil {
		t.Fatalf("no row for %s", name)
	}
	var a [6]uint64
	copy(a[:], args)
	var e Encoder
	c, err := e.Marshal(entry, 1, a, mem, testImage)
	if err != nil {
		t.Fatalf("%s: Marshal: %v", name, err)
	}
	return roundTrip(t, c, mem)
}

func roundTrip(t testing.TB, c *Call, mem Memory) int64 {
	t.Helper()
	var home Call
	if err := ParseCall(c.AppendBinary(nil), &home); err != nil {
		t.Fatalf("ParseCall: %v", err)
	}
	r := execute(t, &home)
	var back Reply
	if err := ParseReply(r.AppendBinary(nil), &back); err != nil {
		t.Fatalf("ParseReply: %v", err)
	}
	return c.Scatter(mem, &back)
}

// execute is home: it knows nothing of the call but its image.
func execute(t testing.TB, c *Call) *Reply {
	t.Helper()
	args, err := c.Place(image, uint64(uintptr(unsafe.Pointer(&image[0]))))
	if err != nil {
		t.Fatalf("Place: %v", err)
	}
	ret := rawSyscall(c.NR, args)
	return &Reply{Seq: c.Seq, Ret: ret, Outs: c.Gather(ret, image, nil)}
}

func rawSyscall(nr uint32, a [6]uint64) int64 {
	r, _, errno := syscall.Syscall6(uintptr(nr), uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
	if errno != 0 {
		return -int64(errno)
	}
	return int64(r)
}

// ownMemory is this process's memory, for tests that compare with native calls.
type ownMemory struct{}

func (ownMemory) Read(addr uint64, p []byte) (int, error)  { return vm(310, addr, p) }
func (ownMemory) Write(addr uint64, p []byte) (int, error) { return vm(311, addr, p) }

// vm transfers through process_vm_readv or writev, page by page as far as it goes.
func vm(nr uintptr, addr uint64, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		chunk := min(len(p)-n, pageSize-int((addr+uint64(n))%pageSize))
		local := syscall.Iovec{Base: &p[n], Len: uint64(chunk)}
		remote := [2]uint64{addr + uint64(n), uint64(chunk)}
		r, _, errno := syscall.Syscall6(nr, uintptr(syscall.Getpid()), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote[0])), 1, 0)
		if errno != 0 {
			return n, errno
		}
		n += int(r)
		if int(r) < chunk {
			return n, syscall.EFAULT
		}
	}
	return n, nil
}

func ptr(p []byte) uint64 {
	if len(p) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(&p[0])))
}
