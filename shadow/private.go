package shadow

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Which files belong to the job alone, and how it is noticed that they do not
// any more. A file is a candidate if nobody comes across it by chance: one
// without a name, or POSIX shared memory.

const sharedMemoryDir = "/dev/shm"

// couldBePrivate tells whether a file is a candidate.
func couldBePrivate(fd int, st *unix.Stat_t) bool {
	if st.Nlink == 0 {
		return true
	}
	var dir unix.Stat_t
	var fs unix.Statfs_t
	return unix.Stat(sharedMemoryDir, &dir) == nil && dir.Dev == st.Dev &&
		unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// outsiders finds a process that has a file open, or maps it, and is neither one
// of the job's that are away nor of those that leave now; 0 if there is none.
// What other users' processes have open is seen by root only.
func (s *Supervisor) outsiders(id, shown fileID, leave []int) int {
	names, err := readNames("/proc")
	if err != nil {
		return 1
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() || s.isAway(pid) || slices.Contains(leave, pid) {
			continue
		}
		if openFilesOf(pid)[id] || mapsFile(pid, shown) {
			return pid
		}
	}
	return 0
}

func (s *Supervisor) isAway(pid int) bool {
	p := s.process(pid)
	return p != nil && p.getState() != home
}

// openFilesOf lists the files behind a process's descriptors.
func openFilesOf(pid int) map[fileID]bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	names, err := readNames(dir)
	if err != nil {
		return nil // it has ended, or is another user's
	}
	open := make(map[fileID]bool, len(names))
	var st unix.Stat_t
	for _, name := range names {
		if unix.Stat(dir+"/"+name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			open[identity(&st)] = true
		}
	}
	return open
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// shownAs tells how maps show a file. On overlayfs and btrfs that is not the
// device which stat(2) gives, so it is mapped to see it.
func shownAs(fd int) (fileID, error) {
	mem, err := unix.Mmap(fd, 0, 1, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fileID{}, err
	}
	defer func() { _ = unix.Munmap(mem) }()
	maps, err := linux.Mappings(os.Getpid())
	if err != nil {
		return fileID{}, err
	}
	at := addressOf(mem)
	for _, m := range maps {
		if at >= m.Start && at < m.End {
			return fileID{m.Dev, m.Ino}, nil
		}
	}
	return fileID{}, unix.ENOENT
}

// mapsFile tells whether a process maps a file, as maps show it.
func mapsFile(pid int, id fileID) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil || !bytes.Contains(text, []byte(" "+strconv.FormatUint(id.ino, 10)+" ")) {
		return false
	}
	maps, err := linux.ParseMappings(text)
	if err != nil {
		return false
	}
	for _, m := range maps {
		if m.Ino == id.ino && m.Dev == id.dev {
			return true
		}
	}
	return false
}

// openWatch hears of every open(2) of the files that are away, by inotify.
type openWatch struct {
	mu    sync.Mutex
	fd    int // 0: not begun
	files map[int]*sharedFile
}

// add begins to watch a file; false if that is not possible.
func (w *openWatch) add(s *Supervisor, o *sharedFile) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd == 0 {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			s.log.Warn("files cannot be watched (fs.inotify.max_user_instances?); POSIX shared memory brings programs home", "err", err)
			return false
		}
		w.fd, w.files = fd, map[int]*sharedFile{}
		go w.read(s, fd)
	}
	wd, err := unix.InotifyAddWatch(w.fd, "/proc/self/fd/"+strconv.Itoa(o.fd), unix.IN_OPEN)
	if err != nil {
		return false
	}
	if w.files[wd] != nil { // by another thread, for the same file
		return true
	}
	o.wd = wd
	w.files[wd] = o
	return true
}

func (w *openWatch) remove(o *sharedFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.wd >= 0 && w.files[o.wd] == o {
		delete(w.files, o.wd)
		_, _ = unix.InotifyRmWatch(w.fd, uint32(o.wd)) // EINVAL: the file is gone, and its watch with it
	}
}

// read looks, after opens, whether a file is still the job's alone.
func (w *openWatch) read(s *Supervisor, fd int) {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			s.log.Error("watch of shared files ended", "err", err)
			return
		}
		opened := map[*sharedFile]bool{}
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, size := int(int32(binary.LittleEndian.Uint32(b))), unix.SizeofInotifyEvent+int(binary.LittleEndian.Uint32(b[12:]))
			if o := w.files[wd]; o != nil {
				opened[o] = true
			}
			b = b[min(size, len(b)):]
		}
		w.mu.Unlock()
		for o := range opened {
			s.lookAgain(o)
		}
	}
}

// lookAgain fetches the mappers of a file home if others have got hold of it.
func (s *Supervisor) lookAgain(o *sharedFile) {
	if _, segment := o.segment(); segment || o.leaving.Load() {
		return // looked at when it leaves
	}
	if who := s.outsiders(o.id, o.shown, nil); who != 0 {
		go s.recall(o, "a file that it maps was opened by process "+strconv.Itoa(who))
	}
}
