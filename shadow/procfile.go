package shadow

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/protocol"
	"homing/syscallfwd"
)

// Files of /proc that describe the memory or the processor time of a process
// that is away say of its shadow what is true of the shadow only. So:
//
//  1. The node marks the open of anything with such a name.
//  2. It is opened here as asked; the kernel finds the file, or the error, and
//     chooses the descriptor. If it is a file of /proc/PID of a process that
//     is away, the reply says which.
//  3. The node writes the text as the guest should see it and sends it back; a
//     memfd with that text takes the descriptor's place.

// serveOpen executes an open that the node has marked.
func (s *Supervisor) serveOpen(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	ret, gone := s.executeFile(th, call)
	s.answer(th, call, ret, gone, reply)
	if call.Flags&protocol.CallProc == 0 || gone || ret < 0 {
		return
	}
	f, ok := s.procFile(th, int(ret))
	if !ok {
		return
	}
	if f.Closed {
		s.simple(th, unix.SYS_CLOSE, uint64(ret))
	}
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // plain data
	}
	reply.Flags |= protocol.ReplyProc
	reply.Outs = append(reply.Outs[:0], b...)
}

// procFile tells whether a descriptor is a file of /proc that describes a
// process which is away.
func (s *Supervisor) procFile(th *thread, fd int) (f protocol.ProcFile, ok bool) {
	f, ok = parseProcFile(readlink(th.tid, "fd/"+strconv.Itoa(fd)))
	if !ok {
		return f, false
	}
	p := s.process(f.PID)
	if p == nil || p.getState() != away {
		return f, false
	}
	own, err := openProcessFD(th.proc.pid, fd)
	if err != nil {
		return f, false
	}
	defer unix.Close(own)
	var st unix.Statfs_t
	if err := unix.Fstatfs(own, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return f, false
	}
	mode, err := unix.FcntlInt(uintptr(own), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_PATH != 0 {
		return f, false
	}
	switch f.Name {
	case "mem", "pagemap", "clear_refs":
		f.Closed = true
		return f, true
	}
	if mode&unix.O_ACCMODE != unix.O_RDONLY {
		return f, false
	}
	switch f.Name {
	case "stat", "status", "sched":
		f.Home = readText(own)
	}
	if f.Name == "stat" && f.TID == 0 {
		f.Home = s.withChildren(p, f.Home)
	}
	return f, true
}

// parseProcFile takes the end of a path, …/PID/NAME or …/PID/task/TID/NAME, apart.
func parseProcFile(path string) (f protocol.ProcFile, ok bool) {
	part := strings.Split(path, "/")
	n := len(part)
	if n < 3 {
		return f, false
	}
	f.Name = part[n-1]
	pid := part[n-2]
	if n >= 5 && part[n-3] == "task" {
		var err error
		if f.TID, err = strconv.Atoi(part[n-2]); err != nil {
			return f, false
		}
		pid = part[n-4]
	}
	var err error
	f.PID, err = strconv.Atoi(pid)
	return f, err == nil
}

// readText reads a small file of /proc without moving its offset.
func readText(fd int) string {
	buf := make([]byte, 16<<10)
	n := 0
	for n < len(buf) {
		m, err := unix.Pread(fd, buf[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			break
		}
		n += m
	}
	return string(buf[:n])
}

// withChildren adds to the fields cutime and cstime of a stat file what guests
// that were waited for used away.
func (s *Supervisor) withChildren(p *process, stat string) string {
	const tick = 1e9 / 100 // USER_HZ
	s.mu.RLock()
	c := p.children
	s.mu.RUnlock()
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return stat
	}
	f := strings.Fields(stat[end+1:])
	for field, ns := range map[int]int64{16: c.User, 17: c.System} { // numbered as in proc_pid_stat(5)
		if i := field - 3; i < len(f) {
			if v, err := strconv.ParseInt(f[i], 10, 64); err == nil {
				f[i] = strconv.FormatInt(v+ns/tick, 10)
			}
		}
	}
	return stat[:end+1] + " " + strings.Join(f, " ") + "\n"
}

// serveFill makes descriptor Args[0] one that reads as the call's data.
func (s *Supervisor) serveFill(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	th.fill = append(th.fill, call.Data...)
	if call.Args[2] != 0 && len(th.fill) <= protocol.MaxText {
		*reply = syscallfwd.Reply{Seq: call.Seq, Outs: reply.Outs[:0]}
		return
	}
	text := th.fill
	th.fill = nil
	if len(text) > protocol.MaxText {
		s.fail(call, unix.ENOMEM, reply)
		return
	}
	ret, gone := s.fill(th, int(int32(call.Args[0])), call.Args[1] != 0, text)
	s.answer(th, call, ret, gone, reply)
}

// fill replaces a descriptor of the shadow by one that reads as text. The
// memfd is ours, so that neither the program's limit on file sizes nor a free
// number is needed for it; the shadow opens it read-only, as the original was.
func (s *Supervisor) fill(th *thread, fd int, cloexec bool, text []byte) (ret int64, gone bool) {
	mem, err := sealedText(text)
	if err != nil {
		s.log.Warn("no room for the text of a /proc file", "pid", th.proc.pid, "err", err)
		return -int64(unix.ENOMEM), false
	}
	defer unix.Close(mem)
	path := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(mem)
	from, gone := s.withString(th, unix.SYS_OPEN, 0, path, 0, unix.O_RDONLY|unix.O_CLOEXEC)
	if from < 0 && !gone { // another user by now, or another root directory
		from, gone = s.ownMemfd(th, text)
	}
	if from < 0 || gone {
		return from, gone
	}
	flags := uint64(0)
	if cloexec {
		flags = unix.O_CLOEXEC
	}
	ret, gone = s.simple(th, unix.SYS_DUP3, uint64(from), uint64(fd), flags)
	if !gone {
		_, gone = s.simple(th, unix.SYS_CLOSE, uint64(from))
	}
	return ret, gone
}

// ownMemfd has the shadow itself make a memfd with the text. It can be written
// to as far as its flags tell, but is sealed.
func (s *Supervisor) ownMemfd(th *thread, text []byte) (fd int64, gone bool) {
	fd, gone = s.withString(th, unix.SYS_MEMFD_CREATE, 0, "proc", 0, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if fd < 0 || gone {
		return fd, gone
	}
	own, err := openProcessFD(th.proc.pid, int(fd))
	if err == nil {
		err = writeText(own, text)
		unix.Close(own)
	}
	if err == nil {
		return fd, false
	}
	s.log.Warn("text of a /proc file not written", "pid", th.proc.pid, "err", err)
	_, gone = s.simple(th, unix.SYS_CLOSE, uint64(fd))
	return -int64(unix.ENOMEM), gone
}

// sealedText makes a memfd as unchangeable as a file of /proc.
func sealedText(text []byte) (int, error) {
	fd, err := unix.MemfdCreate("proc", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	err = writeText(fd, text)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func writeText(fd int, text []byte) error {
	for off := 0; off < len(text); {
		n, err := unix.Pwrite(fd, text[off:], int64(off))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		off += n
	}
	if err := unix.Fchmod(fd, 0o444); err != nil {
		return err
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	return err
}

// withString executes a call whose argument arg is a string.
func (s *Supervisor) withString(th *thread, nr uint32, arg int, str string, args ...uint64) (int64, bool) {
	c := syscallfwd.Call{NR: nr, ArgReloc: 1 << arg, Data: append([]byte(str), 0), Size: uint32(len(str) + 1)}
	copy(c.Args[:], args)
	c.Args[arg] = 0
	return s.execute(th, &c)
}
