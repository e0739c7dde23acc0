package shadow

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"homing/internal/protocol"
	"homing/internal/tracer"
)

// A process may be in the middle of reading a file of /proc about itself when it
// leaves. What it reads next would describe its shadow: it gets the text as it
// is, see procfile.go.

// procText is such a file.
type procText struct {
	fd      int
	cloexec bool
	offset  int64
	text    []byte
}

// procTexts reads the files of /proc about itself that a process has open. All
// its threads stand still, and nothing of ours is in its memory yet.
func procTexts(pid int) []procText {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []procText
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if err != nil {
			continue
		}
		f, ok := parseProcFile(link)
		if !ok || f.PID != pid {
			continue
		}
		switch f.Name {
		case "maps", "smaps", "smaps_rollup", "numa_maps", "stat", "statm", "status", "sched", "schedstat", "cmdline", "environ":
		default:
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if t, ok := readProcText(pid, fd); ok {
			out = append(out, t)
		}
	}
	return out
}

func readProcText(pid, fd int) (procText, bool) {
	t := procText{fd: fd}
	own, err := openProcessFD(pid, fd)
	if err != nil {
		return t, false
	}
	defer unix.Close(own)
	var st unix.Statfs_t
	mode, err := unix.FcntlInt(uintptr(own), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_PATH != 0 || mode&unix.O_ACCMODE != unix.O_RDONLY || unix.Fstatfs(own, &st) != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return t, false
	}
	if t.offset, err = unix.Seek(own, 0, unix.SEEK_CUR); err != nil {
		return t, false
	}
	buf := make([]byte, 64<<10)
	for len(t.text) <= protocol.MaxText {
		n, err := unix.Pread(own, buf, int64(len(t.text)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return t, false
		}
		if n == 0 {
			t.cloexec = closesOnExec(pid, fd)
			return t, true
		}
		t.text = append(t.text, buf[:n]...)
	}
	return t, false
}

// closesOnExec tells whether a descriptor is closed by execve, from its fdinfo.
func closesOnExec(pid, fd int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return false
	}
	var pos int64
	var flags uint64
	if _, err := fmt.Sscanf(string(b), "pos: %d\nflags: %o", &pos, &flags); err != nil {
		return false
	}
	return flags&unix.O_CLOEXEC != 0
}

// freezeTexts gives a stopped process the texts in place of the files. Tracer's thread.
func (s *Supervisor) freezeTexts(d *departing) {
	leader := d.threads[0].th
	body := s.body(leader)
	for _, t := range d.texts {
		if err := putText(leader.tid, body, t); err != nil {
			s.log.Warn("file of /proc not kept", "pid", d.p.pid, "fd", t.fd, "err", err)
		}
	}
}

func putText(tid int, body *tracer.Body, t procText) error {
	mem, err := sealedText(t.text)
	if err != nil {
		return err
	}
	defer unix.Close(mem)
	path := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(mem)
	if err := body.WriteScratch(tid, append([]byte(path), 0)); err != nil {
		return err
	}
	res, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_OPEN, body.Table+uint64(body.Size), unix.O_RDONLY|unix.O_CLOEXEC)})
	if err != nil {
		return err
	}
	flags := uint64(0)
	if t.cloexec {
		flags = unix.O_CLOEXEC
	}
	_, err = body.Inject(tid, []tracer.Call{
		tracer.C(unix.SYS_LSEEK, res[0], uint64(t.offset), unix.SEEK_SET),
		tracer.C(unix.SYS_DUP3, res[0], uint64(t.fd), flags),
		tracer.C(unix.SYS_CLOSE, res[0]),
	})
	return err
}
