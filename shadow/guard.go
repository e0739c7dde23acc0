package shadow

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"homing/syscallfwd"
)

// Who opens a file whose copy is away should not see what it was. With root's
// rights the kernel asks before it opens one (fanotify(7)), and the opener waits
// until the file is home. Without them, home's copy of what has a name is made
// right before each call by which the job can tell others something: who opens
// the file because of what a program has said finds what it had stored by then.
// Large files are left out of that.

// openGuard is asked before others open files that are away. Lock order: mu is a leaf.
type openGuard struct {
	once sync.Once
	fd   int // -1: not to be had

	mu     sync.Mutex
	wait   map[*opening]bool
	moving map[int]bool // processes that are being stopped, to leave home
}

// opening is a process that waits to open a file.
type opening struct {
	fd  int32 // of the question
	pid int
}

// hurry lets a process of the job that is at home open what it wants, until
// settled: it is to be stopped, and who waits to open a file does not stop. What it
// opens is fetched home all the same, if it stays there.
func (g *openGuard) hurry(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moving == nil {
		g.moving = map[int]bool{}
	}
	g.moving[pid] = true
	for o := range g.wait {
		if o.pid == pid {
			delete(g.wait, o)
			g.allow(o.fd)
		}
	}
}

func (g *openGuard) settled() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.moving)
}

// ask notes that a process waits; false if it does not have to.
func (g *openGuard) ask(o *opening) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moving[o.pid] {
		return false
	}
	if g.wait == nil {
		g.wait = map[*opening]bool{}
	}
	g.wait[o] = true
	return true
}

// answer lets a process go on that waits, unless that has been done.
func (g *openGuard) answer(o *opening) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wait[o] {
		delete(g.wait, o)
		g.allow(o.fd)
	}
}

// add puts a file under guard and tells whether it is.
func (g *openGuard) add(s *Supervisor, o *sharedFile) bool {
	g.once.Do(func() {
		g.fd = -1
		fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
		if err != nil {
			s.log.Debug("opening of shared files is noticed only afterwards", "err", err)
			return
		}
		g.fd = fd
		go g.serve(s)
	})
	return g.fd >= 0 && unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(o.fd)) == nil
}

func (g *openGuard) remove(o *sharedFile) {
	if g.fd >= 0 && o.fd >= 0 {
		// ENOENT: it was not under guard
		_ = unix.FanotifyMark(g.fd, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_PERM, unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(o.fd))
	}
}

// serve lets those of the job that are away, and ourselves, open what they want,
// and others when the file is home.
func (g *openGuard) serve(s *Supervisor) {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(g.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			s.log.Error("guard of shared files ended", "err", err)
			return
		}
		const size = 24 // struct fanotify_event_metadata
		for b := buf[:n]; len(b) >= size; {
			length, fd, pid := binary.LittleEndian.Uint32(b), int32(binary.LittleEndian.Uint32(b[16:])), int(int32(binary.LittleEndian.Uint32(b[20:])))
			b = b[min(max(int(length), size), len(b)):]
			if fd < 0 {
				continue
			}
			var st unix.Stat_t
			var o *sharedFile
			if unix.Fstat(int(fd), &st) == nil {
				o = s.awayFile(identity(&st))
			}
			if o == nil || o.leaving.Load() || pid == os.Getpid() || s.isAway(pid) {
				g.allow(fd)
				continue
			}
			who := &opening{fd, pid}
			if !g.ask(who) {
				g.allow(fd)
				continue // that it was opened is noticed by the watch
			}
			go func() {
				s.recall(o, "a file that it maps is opened by process "+strconv.Itoa(pid))
				g.answer(who)
			}()
		}
	}
}

func (g *openGuard) allow(fd int32) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(fd))
	_, _ = unix.Write(g.fd, binary.LittleEndian.AppendUint32(b, unix.FAN_ALLOW)) // ENOENT: the opener was killed
	unix.Close(int(fd))
}

// tells tells whether a call can let others know something: those that only
// ask do not.
func tells(call *syscallfwd.Call) bool {
	switch call.NR {
	case unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2, unix.SYS_SENDTO,
		unix.SYS_SENDMSG, unix.SYS_SENDMMSG, unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_TEE, unix.SYS_COPY_FILE_RANGE,
		unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
		unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_SHUTDOWN, unix.SYS_CONNECT,
		unix.SYS_LISTEN, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINK, unix.SYS_LINKAT,
		unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_RMDIR, unix.SYS_SYMLINK,
		unix.SYS_SYMLINKAT, unix.SYS_FTRUNCATE, unix.SYS_TRUNCATE, unix.SYS_FLOCK, unix.SYS_FCNTL, unix.SYS_SEMOP,
		unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL, unix.SYS_MSGSND, unix.SYS_MQ_TIMEDSEND, unix.SYS_EXECVE, unix.SYS_EXECVEAT,
		unix.SYS_CHMOD, unix.SYS_FCHMOD, unix.SYS_UTIMENSAT:
		return true
	}
	return false
}

// maxTold is how large files may be that are written back before such calls.
const maxTold = 256 << 10

// tellOthers makes home's copies right before a call that others may learn from.
// That a process ends can be what they wait for to attach a segment, too.
func (s *Supervisor) tellOthers(ends bool) {
	if s.shared.unguarded.Load() == 0 && (!ends || s.shared.count.Load() == 0) {
		return
	}
	for _, o := range s.awayFiles() {
		if _, segment := o.segment(); !o.unguarded() && (!ends || !segment) || !o.isSmall() {
			continue
		}
		if _, err := s.exchange(o, false); err != nil {
			s.log.Debug("shared file not written back", "path", o.file.Path, "err", err)
		}
	}
}

// unguarded tells whether others may open a file and see what was in it.
func (o *sharedFile) unguarded() bool {
	_, segment := o.segment()
	return !o.guarded && !segment && !strings.HasSuffix(o.file.Path, deletedMark)
}

// isSmall tells whether a file still has a name, and is small.
func (o *sharedFile) isSmall() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.segment(); ok {
		return !o.closed && o.file.Size <= maxTold
	}
	var st unix.Stat_t
	return !o.closed && unix.Fstat(o.fd, &st) == nil && st.Nlink > 0 && st.Size <= maxTold
}
