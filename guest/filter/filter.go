// Package filter compiles the seccomp filter of a pod with libseccomp.
//
// Calls that the table marks local, and anonymous mmap, are allowed and run at
// native speed, but for clock_gettime of processor time; rt_sigtimedwait stops for the tracer, which must see its
// result; everything else becomes a user notification. Other architectures'
// calls (int 0x80, x32) get ENOSYS. No rule compares more than one argument
// word: libseccomp up to 2.6.0 can weaken such filters.
package filter

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"homing/syscallfwd"
)

// clocks are those that the pod's kernel tells by itself; those of processor time
// go on from what they showed where a process comes from.
var clocks = []int{
	unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE,
	unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM, unix.CLOCK_TAI,
}

// Program is a compiled filter, an array of struct sock_filter.
type Program []byte

// Len is the number of instructions.
func (p Program) Len() int { return len(p) / 8 }

// Build compiles the filter.
func Build() (Program, error) {
	f, err := seccomp.NewFilter(seccomp.ActNotify)
	if err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	defer f.Release()
	if err := f.SetBadArchAction(seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))); err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	for _, nr := range syscallfwd.LocalNumbers() {
		if nr == unix.SYS_RT_SIGTIMEDWAIT || nr == unix.SYS_CLOCK_GETTIME {
			continue
		}
		if err := f.AddRule(seccomp.ScmpSyscall(nr), seccomp.ActAllow); err != nil {
			return nil, fmt.Errorf("libseccomp: allow call %d: %w", nr, err)
		}
	}
	anonymous, err := seccomp.MakeCondition(3, seccomp.CompareMaskedEqual, unix.MAP_ANONYMOUS, unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	if err := f.AddRuleConditional(unix.SYS_MMAP, seccomp.ActAllow, []seccomp.ScmpCondition{anonymous}); err != nil {
		return nil, fmt.Errorf("libseccomp: anonymous mmap: %w", err)
	}
	for _, clock := range clocks {
		is, err := seccomp.MakeCondition(0, seccomp.CompareMaskedEqual, 1<<32-1, uint64(clock))
		if err != nil {
			return nil, fmt.Errorf("libseccomp: %w", err)
		}
		if err := f.AddRuleConditional(unix.SYS_CLOCK_GETTIME, seccomp.ActAllow, []seccomp.ScmpCondition{is}); err != nil {
			return nil, fmt.Errorf("libseccomp: clock %d: %w", clock, err)
		}
	}
	if err := f.AddRule(unix.SYS_RT_SIGTIMEDWAIT, seccomp.ActTrace.SetReturnCode(1)); err != nil {
		return nil, fmt.Errorf("libseccomp: rt_sigtimedwait: %w", err)
	}
	return export(f)
}

func export(f *seccomp.ScmpFilter) (Program, error) {
	fd, err := unix.MemfdCreate("homing-filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), "homing-filter")
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("libseccomp: export: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b)%8 != 0 || len(b)/8 > 4096 {
		return nil, fmt.Errorf("libseccomp: filter of %d bytes", len(b))
	}
	return b, nil
}

// Fprog returns the struct sock_fprog that points to the program at addr.
func (p Program) Fprog(addr uint64) []byte {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint16(b, uint16(p.Len()))
	binary.LittleEndian.PutUint64(b[8:], addr)
	return b
}
