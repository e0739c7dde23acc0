package shadow

import (
	"strconv"

	"golang.org/x/sys/unix"

	"homing/syscallfwd"
)

// fileCall says what a call does with the files behind its descriptors: the
// arguments that name one it reads, and one it changes, plus 1.
type fileCall struct{ reads, writes int }

// fileCalls are the calls that move data into or out of files, or change their size.
var fileCalls = map[uint32]fileCall{
	unix.SYS_READ:            {reads: 1},
	unix.SYS_PREAD64:         {reads: 1},
	unix.SYS_READV:           {reads: 1},
	unix.SYS_PREADV:          {reads: 1},
	unix.SYS_PREADV2:         {reads: 1},
	unix.SYS_WRITE:           {writes: 1},
	unix.SYS_PWRITE64:        {writes: 1},
	unix.SYS_WRITEV:          {writes: 1},
	unix.SYS_PWRITEV:         {writes: 1},
	unix.SYS_PWRITEV2:        {writes: 1},
	unix.SYS_FTRUNCATE:       {writes: 1},
	unix.SYS_FALLOCATE:       {writes: 1},
	unix.SYS_SENDFILE:        {reads: 2, writes: 1},
	unix.SYS_SPLICE:          {reads: 1, writes: 3},
	unix.SYS_COPY_FILE_RANGE: {reads: 1, writes: 3},
	unix.SYS_LSEEK:           {reads: 1}, // SEEK_DATA, SEEK_HOLE
}

// executeFile executes a call that may concern files whose copies are away: what
// was stored before is seen by it, and what it writes is seen after it.
func (s *Supervisor) executeFile(th *thread, call *syscallfwd.Call) (int64, bool) {
	if tells(call) {
		s.tellOthers(false)
	}
	switch call.NR {
	case unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_UNLINK, unix.SYS_UNLINKAT:
		s.sweepSoon()
	}
	c, ok := fileCalls[call.NR]
	if !ok || s.shared.count.Load() == 0 {
		ret, gone := s.execute(th, call)
		if !gone && s.shared.count.Load() > 0 { // one may have left meanwhile
			s.afterCall(th, call, c)
		}
		return ret, gone
	}
	for _, n := range []int{c.reads, c.writes} {
		if n == 0 || call.NR == unix.SYS_LSEEK && call.Args[2] < unix.SEEK_DATA {
			continue
		}
		if o := s.fileOf(th, int(int32(call.Args[n-1]))); o != nil {
			if _, err := s.exchange(o, false); err != nil {
				s.log.Error("copies of a shared file are not alike", "path", o.file.Path, "err", err)
			}
		}
	}
	ret, gone := s.execute(th, call)
	if !gone {
		s.afterCall(th, call, c)
	}
	return ret, gone
}

// sealing prepares for an fcntl that adds seals to a file: those against writing
// are refused while it is mapped writable, which home does not know. mapped is
// to be unmapped after the call. stays is false if the call is one for home.
func (s *Supervisor) sealing(th *thread, call *syscallfwd.Call) (mapped []byte, stays bool) {
	if s.shared.count.Load() == 0 {
		return nil, true
	}
	o := s.fileOf(th, int(int32(call.Args[0])))
	if o == nil || call.Args[2]&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) == 0 {
		return nil, true
	}
	mappers, err := s.exchange(o, true)
	if err != nil || len(mappers) == 0 {
		return nil, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed || !o.writable:
		return nil, true
	case call.Args[2]&unix.F_SEAL_WRITE == 0:
		return nil, false // what is mapped stays writable: not for us, later
	}
	mapped, _ = unix.Mmap(o.fd, 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED) // fails if it is sealed already
	return mapped, true
}

// serveFcntl serves fcntl.
func (s *Supervisor) serveFcntl(th *thread, call *syscallfwd.Call, reply *syscallfwd.Reply) {
	if call.Args[1] == unix.F_ADD_SEALS {
		mapped, stays := s.sealing(th, call)
		if !stays {
			s.repatriate(call, reply, "F_SEAL_FUTURE_WRITE of a mapped file")
			return
		}
		if mapped != nil {
			defer func() { _ = unix.Munmap(mapped) }()
		}
	}
	ret, gone := s.executeFile(th, call)
	s.answer(th, call, ret, gone, reply)
}

// afterCall brings what a call has written to the node.
func (s *Supervisor) afterCall(th *thread, call *syscallfwd.Call, c fileCall) {
	switch {
	case c.writes > 0:
		if o := s.fileOf(th, int(int32(call.Args[c.writes-1]))); o != nil {
			s.push(o)
		}
	case call.NR == unix.SYS_TRUNCATE, call.NR == unix.SYS_CREAT,
		call.NR == unix.SYS_OPEN && call.Args[1]&unix.O_TRUNC != 0,
		call.NR == unix.SYS_OPENAT && call.Args[2]&unix.O_TRUNC != 0,
		call.NR == unix.SYS_OPENAT2: // by name
		for _, o := range s.awayFiles() {
			if o.resized() {
				s.push(o)
			}
		}
	}
}

func (s *Supervisor) push(o *sharedFile) {
	o.mu.Lock()
	o.touched = true
	o.mu.Unlock()
	if _, err := s.exchange(o, false); err != nil {
		s.log.Error("copies of a shared file are not alike", "path", o.file.Path, "err", err)
	}
}

// resized tells whether the file has another size than its copy.
func (o *sharedFile) resized() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.copy == nil {
		return false
	}
	size, err := o.size()
	return err == nil && size != o.copy.Size()
}

// fileOf finds the file behind a thread's descriptor among those whose copies
// are away.
func (s *Supervisor) fileOf(th *thread, fd int) *sharedFile {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(th.tid)+"/fd/"+strconv.Itoa(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return s.awayFile(identity(&st))
}
