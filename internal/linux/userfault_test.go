package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// registered maps memory and registers all but its last page.
func registered(t *testing.T, features, mode uint64) (fd int, mem []byte) {
	t.Helper()
	fd, err := NewUserfault(unix.O_CLOEXEC | unix.O_NONBLOCK | UserfaultUserModeOnly)
	if err != nil {
		t.Skipf("no userfaultfd here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := UserfaultHandshake(fd, features); err != nil {
		t.Skipf("this kernel's userfaultfd lacks features %#x: %v", features, err)
	}
	mem, err = unix.Mmap(-1, 0, 9*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil {
		t.Logf("huge pages cannot be excluded: %v", err)
	}
	if err := UserfaultRegister(fd, Range{address(mem), address(mem) + 8*4096}, mode); err != nil {
		t.Fatal(err)
	}
	return fd, mem
}

func TestUserfaultMissing(t *testing.T) {
	fd, mem := registered(t, UserfaultEventRemove|UserfaultEventUnmap|UserfaultEventRemap, UserfaultMissing)
	at := address(mem)
	page := bytes.Repeat([]byte{7}, 2*4096)
	if n, err := UserfaultCopy(fd, at, page); n != 2*4096 || err != nil {
		t.Fatalf("copied %d bytes: %v", n, err)
	}
	if n, err := UserfaultCopy(fd, at+4096, page); n != 0 || !errors.Is(err, unix.EEXIST) {
		t.Errorf("over a page: %d, %v", n, err)
	}
	if n, err := UserfaultCopy(fd, at+7*4096, page); n != 0 || !errors.Is(err, unix.ENOENT) {
		t.Errorf("beyond what is registered: %d, %v", n, err)
	}
	if err := UserfaultZeropage(fd, Range{at + 2*4096, at + 8*4096}); err != nil {
		t.Error(err)
	}
	if err := UserfaultWake(fd, Range{at, at + 4096}); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(mem[:2*4096], page) || mem[2*4096] != 0 || mem[8*4096] != 0 {
		t.Error("the pages are not as they were filled")
	}
	if err := UserfaultUnregister(fd, Range{at, at + 8*4096}); err != nil {
		t.Error(err)
	}
}

func TestUserfaultMsg(t *testing.T) {
	le := binary.LittleEndian
	msg := func(event byte, words ...uint64) []byte {
		b := []byte{event, 0, 0, 0, 0, 0, 0, 0}
		for _, w := range words {
			b = le.AppendUint64(b, w)
		}
		return append(b, make([]byte, UserfaultMsgSize-len(b))...)
	}
	for _, tt := range []struct {
		b    []byte
		want UserfaultMsg
	}{
		{msg(UserfaultPagefault, 1, 0x5000), UserfaultMsg{Event: UserfaultPagefault, Address: 0x5000}},
		{msg(UserfaultFork, 9), UserfaultMsg{Event: UserfaultFork, FD: 9}},
		{msg(UserfaultRemap, 1, 2, 3), UserfaultMsg{Event: UserfaultRemap, From: 1, To: 2, Len: 3}},
		{msg(UserfaultRemove, 4, 5), UserfaultMsg{Event: UserfaultRemove, Start: 4, End: 5}},
		{msg(UserfaultUnmap, 4, 5), UserfaultMsg{Event: UserfaultUnmap, Start: 4, End: 5}},
	} {
		if got := ParseUserfaultMsg(tt.b); got != tt.want {
			t.Errorf("%v: got %+v", tt.b, got)
		}
	}
}

// Pages written since they were protected, and only those, are found.
func TestScanWritten(t *testing.T) {
	_, mem := registered(t, UserfaultWPAsync, UserfaultWriteProtect)
	pm, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pm.Close()
	at := address(mem)
	for i := range 8 {
		mem[i*4096] = 1
	}
	scan := func() (pages []uint64) {
		t.Helper()
		found, err := ScanPagesFor(int(pm.Fd()), Range{at, at + uint64(len(mem))}, PageScan{Protect: true, Mask: PageIsWritten, AnyOf: PageIsPresent}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			for a := r.Start; a < r.End; a += 4096 {
				pages = append(pages, (a-at)/4096)
			}
		}
		return pages
	}
	if got := scan(); len(got) != 8 {
		t.Errorf("first: %v", got)
	}
	if got := scan(); got != nil {
		t.Errorf("nothing was written: %v", got)
	}
	mem[3*4096]++
	if _, err := unix.Read(int(pm.Fd()), mem[5*4096:5*4096+8]); err != nil { // by the kernel
		t.Fatal(err)
	}
	if got := scan(); len(got) != 2 || got[0] != 3 || got[1] != 5 {
		t.Errorf("pages 3 and 5 were written: %v", got)
	}
}
