package transfer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// memory is another process's, accessed by process_vm_readv and _writev, and by
// /proc/PID/mem where a page's protection keeps these out.
type memory struct {
	pid int

	mu    sync.Mutex
	file  *os.File
	pidfd int
	huge  int8 // 0: not tried, 1: can be made, -1: cannot
}

func newMemory(pid int) *memory { return &memory{pid: pid, pidfd: -1} }

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != nil {
		_ = m.file.Close() // nothing is buffered
		m.file = nil
	}
	if m.pidfd >= 0 {
		_ = unix.Close(m.pidfd)
		m.pidfd = -1
	}
}

func (m *memory) mem() (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		f, err := os.OpenFile("/proc/"+strconv.Itoa(m.pid)+"/mem", os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		m.file = f
	}
	return m.file, nil
}

// copy reads or writes ranges from or to a buffer that they fill. What cannot
// be accessed is given to skip, which says whether to go on; nil: it is an error.
func (m *memory) copy(ranges []linux.Range, buf []byte, write bool, skip func(linux.Range) bool) error {
	for len(ranges) > 0 {
		n, err := linux.CopyRangesPartly(m.pid, ranges, buf, write)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EFAULT) {
			return fmt.Errorf("memory of process %d: %w", m.pid, err)
		}
		n -= n % pageSize
		buf = buf[n:]
		for uint64(n) >= ranges[0].Len() {
			n -= int(ranges[0].Len())
			ranges = ranges[1:]
		}
		// The page that stopped it and the rest of its range go by the file.
		r := linux.Range{Start: ranges[0].Start + uint64(n), End: ranges[0].End}
		if err := m.force(r, buf[:r.Len()], write, skip); err != nil {
			return err
		}
		buf, ranges = buf[r.Len():], ranges[1:]
	}
	return nil
}

func (m *memory) force(r linux.Range, buf []byte, write bool, skip func(linux.Range) bool) error {
	f, err := m.mem()
	if err != nil {
		return err
	}
	for len(buf) > 0 {
		var n int
		if write {
			n, err = f.WriteAt(buf, int64(r.Start))
		} else {
			n, err = f.ReadAt(buf, int64(r.Start))
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("memory of process %d: %w", m.pid, unix.ESRCH)
		}
		n -= n % pageSize
		r.Start += uint64(n)
		buf = buf[n:]
		if skip == nil || !skip(linux.Range{Start: r.Start, End: r.Start + pageSize}) {
			return fmt.Errorf("memory %#x-%#x of process %d: %w", r.Start, r.End, m.pid, err)
		}
		r.Start += pageSize
		buf = buf[pageSize:]
	}
	return nil
}

// makeHuge gives an aligned range of fresh memory a huge page at once, where we
// may (CAP_SYS_NICE) and the machine's owner has not said never: one fault
// instead of 512. It is only faster; whether it succeeds does not matter.
func (m *memory) makeHuge(r linux.Range) {
	pidfd := m.hugeFD()
	if pidfd < 0 {
		return
	}
	// There must be a page for the kernel to have something to collapse.
	if _, err := linux.WriteMemory(m.pid, r.Start, zeros[:pageSize]); err != nil {
		return
	}
	if err := linux.ProcessMadvise(pidfd, r, linux.MadvCollapse); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		m.mu.Lock()
		m.huge = -1
		m.mu.Unlock()
	}
}

// hugeFD returns the descriptor by which huge pages can be made, or -1.
func (m *memory) hugeFD() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.huge == 0 {
		m.huge = -1
		b, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
		if err != nil || strings.Contains(string(b), "[never]") {
			return -1
		}
		if m.pidfd, err = unix.PidfdOpen(m.pid, 0); err != nil {
			m.pidfd = -1
			return -1
		}
		m.huge = 1
	}
	if m.huge < 0 {
		return -1
	}
	return m.pidfd
}

var zeros [256 << 10]byte

func (m *memory) writeZeros(r linux.Range) error {
	for r.Start < r.End {
		p := linux.Range{Start: r.Start, End: min(r.End, r.Start+uint64(len(zeros)))}
		if err := m.copy([]linux.Range{p}, zeros[:p.Len()], true, nil); err != nil {
			return err
		}
		r.Start = p.End
	}
	return nil
}

func isZero(page []byte) bool { return bytes.Equal(page, zeros[:len(page)]) }
