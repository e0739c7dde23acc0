package shadow

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"
	"time"

	"homing/internal/linux"
	"homing/internal/stub"

	"golang.org/x/sys/unix"
)

// privileged tells whether a process that executes path would gain rights
// which the kernel denies to a traced process: set-user-ID, set-group-ID, file
// capabilities (execve(2), ptrace(2)).
func privileged(pid int, path string) bool {
	if os.Geteuid() == 0 {
		return false // a tracer with CAP_SYS_PTRACE costs nothing
	}
	base := "/proc/" + strconv.Itoa(pid)
	if path == "" {
		return false
	}
	if path[0] == '/' {
		path = base + "/root" + path
	} else {
		path = base + "/cwd/" + path
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if st.Mode&unix.S_ISUID != 0 || st.Mode&unix.S_ISGID != 0 && st.Mode&unix.S_IXGRP != 0 {
		return true
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

// execString reads the path argument out of an execve image.
func execString(data []byte, off uint64) string {
	if off >= uint64(len(data)) {
		return ""
	}
	if i := bytes.IndexByte(data[off:], 0); i >= 0 {
		return string(data[off : off+uint64(i)])
	}
	return ""
}

// execReleased lets a shadow execute a privileged program untraced, as the
// ordinary process it is from then on. Should execve fail it is taken back.
func (s *Supervisor) execReleased(th *thread, mask uint64, exec func() (int64, bool)) (ret int64, home bool, err error) {
	var doErr error
	if err := s.tr.Do(func() {
		if doErr = s.halt(th, &returning{}); doErr == nil {
			if doErr = linux.SetSigmask(th.tid, mask); doErr == nil {
				doErr = linux.Detach(th.tid, 0)
			}
		}
	}); err != nil {
		return 0, false, err
	}
	if doErr != nil {
		return 0, false, doErr
	}
	done := make(chan int64, 1)
	go func() {
		ret, _ := exec()
		done <- ret
	}()
	for {
		select {
		case ret := <-done:
			err := s.tr.Do(func() { doErr = linux.Seize(th.tid, traceOptions) })
			if err == nil {
				err = doErr
			}
			return ret, false, err
		case <-time.After(300 * time.Microsecond):
			if !hasStub(th.proc) {
				return 0, true, nil
			}
		}
	}
}

// hasStub tells whether a process is still our shadow. One whose maps we may
// not read any more is a privileged program.
func hasStub(p *process) bool {
	var b [8]byte
	_, err := linux.ReadMemory(p.pid, p.stub, b[:])
	return err == nil && binary.LittleEndian.Uint64(b[:]) == binary.LittleEndian.Uint64(stub.Code())
}
