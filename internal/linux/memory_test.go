package linux

import (
	"bytes"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hole maps three pages and takes the access to the middle one away.
func hole(t *testing.T) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	for i := range mem {
		mem[i] = byte(i)
	}
	if err := unix.Mprotect(mem[4096:8192], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return mem
}

func TestReadWriteMemory(t *testing.T) {
	mem, pid := hole(t), os.Getpid()
	at := address(mem)
	got := make([]byte, 200)
	if n, err := ReadMemory(pid, at+4096-100, got); n != 100 || err != unix.EFAULT {
		t.Errorf("read into the hole: %d, %v, want 100, EFAULT", n, err)
	}
	if !bytes.Equal(got[:100], mem[4096-100:4096]) {
		t.Error("what was read before the hole differs")
	}
	if n, err := WriteMemory(pid, at+4096-100, bytes.Repeat([]byte{9}, 200)); n != 100 || err != unix.EFAULT {
		t.Errorf("write into the hole: %d, %v, want 100, EFAULT", n, err)
	}
	if mem[4095] != 9 {
		t.Error("the page before the hole was not written")
	}
	if n, err := ReadMemory(pid, at+4096, got); n != 0 || err != unix.EFAULT {
		t.Errorf("read in the hole: %d, %v", n, err)
	}
	if n, err := ReadMemory(1<<22+1, at, got); n != 0 || err != unix.ESRCH {
		t.Errorf("read from nobody: %d, %v, want ESRCH", n, err)
	}
}

func TestCopyRanges(t *testing.T) {
	mem, pid := hole(t), os.Getpid()
	at := address(mem)
	var ranges []Range
	var want []byte
	for i := range uint64(maxIovecs + 10) { // more than one call takes
		ranges = append(ranges, Range{at + 3*i, at + 3*i + 2})
		want = append(want, mem[3*i:3*i+2]...)
	}
	got := make([]byte, len(want))
	if err := CopyRanges(pid, ranges, got, false); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read: %v, equal %v", err, bytes.Equal(got, want))
	}
	if err := CopyRanges(pid, ranges, bytes.Repeat([]byte{7}, len(want)), true); err != nil || mem[0] != 7 || mem[2] == 7 {
		t.Errorf("write: %v", err)
	}
	if err := CopyRanges(pid, []Range{{at + 4000, at + 5000}}, make([]byte, 1000), false); err == nil {
		t.Error("reading the hole succeeded")
	}
	if err := CopyRanges(pid, ranges, got[:len(got)-1], false); err == nil {
		t.Error("a buffer too short was accepted")
	}
}

func TestScanPages(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, 8*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil {
		t.Logf("huge pages cannot be excluded: %v", err)
	}
	mem[4096], mem[2*4096], mem[6*4096] = 1, 1, 1
	_ = mem[4*4096] // a zero page
	pm, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pm.Close()
	at := address(mem)
	regions, err := ScanPages(int(pm.Fd()), at, at+8*4096, PageIsPFNZero, PageIsPFNZero, PageIsPresent|PageIsSwapped, 0, nil)
	if err == unix.ENOTTY {
		t.Skip("this kernel has no PAGEMAP_SCAN (Linux 6.7)")
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []Range
	for _, r := range regions {
		got = append(got, Range{r.Start - at, r.End - at})
	}
	if len(got) != 2 || got[0] != (Range{4096, 3 * 4096}) || got[1] != (Range{6 * 4096, 7 * 4096}) {
		t.Errorf("written pages found at %#x", got)
	}
}

func TestSharedMemory(t *testing.T) {
	shm, err := NewSharedMemory(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	// Marked for removal, it can still be attached by its number.
	again, err := unix.SysvShmAttach(shm.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	shm.Data[12345] = 6
	if again[12345] != 6 {
		t.Error("two attachments show different memory")
	}
	if err := unix.SysvShmDetach(again); err != nil {
		t.Error(err)
	}
	if err := shm.Close(); err != nil {
		t.Error(err)
	}
	if _, err := unix.SysvShmAttach(shm.ID, 0, 0); err == nil {
		t.Error("the segment outlives its last user")
	}
}

func TestFutex(t *testing.T) {
	var word uint32
	if err := FutexWait(&word, 1); err != unix.EAGAIN {
		t.Errorf("wait for another value: %v, want EAGAIN", err)
	}
	woken := make(chan error, 1)
	go func() { woken <- FutexWait(&word, 0) }()
	for {
		select {
		case err := <-woken:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			FutexWake(&word, 1)
			runtime.Gosched()
		}
	}
}

// A kick gets a thread out of a call that would block for good.
func TestKick(t *testing.T) {
	if err := InitKick(); err != nil {
		t.Fatal(err)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	tid, read := make(chan int), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		tid <- unix.Gettid()
		_, err := unix.Read(fds[0], make([]byte, 1))
		read <- err
	}()
	who := <-tid
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		Kick(who) // one that comes before the call is lost
		select {
		case err := <-read:
			if err != unix.EINTR {
				t.Errorf("read ended with %v, want EINTR", err)
			}
			return
		default:
		}
	}
}
