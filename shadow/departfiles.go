package shadow

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/tracer"
)

// Leaving with shared mappings of files: those that belong to the group alone go
// along, as if they had been mapped away (shared.go). With others a process that
// is away could not share them, so the group stays.

// mayShare tells whether what is written into a mapping at home may be seen by
// others, or the other way round.
func mayShare(m linux.Mapping) bool {
	return m.Shared && (m.Ino != 0 || isSegment(m)) && !checkpoint.IsSharedObject(m.Path) && strings.HasPrefix(m.Path, "/") &&
		(m.Prot&unix.PROT_WRITE != 0 || strings.HasSuffix(m.Path, deletedMark) || strings.HasPrefix(m.Path, sharedMemoryDir+"/"))
}

const deletedMark = " (deleted)"

// sharedKey names what a shared mapping shows, so that all that map it move
// together; ok is false if it is not shared with anybody.
func sharedKey(m linux.Mapping) (key uint64, ok bool) {
	if m.Shared && checkpoint.IsSharedObject(m.Path) {
		return m.Ino, true
	}
	return m.Ino ^ m.Dev<<40, mayShare(m)
}

// leavingFiles is the resolver for a process of a family that is leaving home.
// Why a file forbids that is told in why.
func (s *Supervisor) leavingFiles(p *process, attach func([]tracer.Call) error, family []int, why *error) checkpoint.FileResolver {
	content := s.files.resolver(p.pid)
	return func(m linux.Mapping) (f checkpoint.File, ok bool) {
		if !mayShare(m) {
			return content(m)
		}
		var err error
		if isSegment(m) {
			f, err = s.leavingSegment(p, attach, m, family)
		} else {
			f, err = s.leavingFile(p.pid, m, family)
		}
		if err == nil {
			if m.Prot&unix.PROT_WRITE == 0 {
				writable, err := linux.MayWrite(p.pid, m.Start)
				f.ReadOnly = err == nil && !writable
			}
			return f, true
		}
		if m.Prot&unix.PROT_WRITE == 0 && errors.Is(err, errOthers) && !isSegment(m) {
			return content(m)
		}
		*why = err
		return checkpoint.File{}, false
	}
}

var errOthers = errors.New("it maps a file shared that others can see")

// usedError says who else uses a file.
type usedError struct {
	path string
	pid  int
}

func (e *usedError) Error() string {
	return fmt.Sprintf("%v: %s, used by process %d", errOthers, e.path, e.pid)
}

func (e *usedError) Unwrap() error { return errOthers }

// joined tells whether a family could not leave because another process of the
// job has come to share a file with it just then: together they can.
func (s *Supervisor) joined(err error) bool {
	var used *usedError
	return errors.As(err, &used) && s.isNative(s.ownProcesses(), used.pid)
}

// leavingFile lets the file behind a mapping leave together with a family.
func (s *Supervisor) leavingFile(pid int, m linux.Mapping, family []int) (checkpoint.File, error) {
	if strings.HasPrefix(m.Path, "/SYSV") {
		return checkpoint.File{}, errors.New("it uses System V shared memory")
	}
	fd, replaced, err := s.openMapped(pid, m, family)
	if err != nil {
		return checkpoint.File{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return checkpoint.File{}, err
	}
	if replaced {
		st.Dev, st.Ino, st.Nlink = m.Dev, m.Ino, 0
	}
	s.shared.taking.Lock()
	defer s.shared.taking.Unlock()
	id := identity(&st)
	if o := s.awayFile(id); o != nil {
		unix.Close(fd)
		if !o.leaving.Load() {
			return checkpoint.File{}, fmt.Errorf("%w: %s is mapped by a process that is away already", errOthers, m.Path)
		}
		return o.file, nil
	}
	o := &sharedFile{id: id, shown: fileID{m.Dev, m.Ino}, fd: fd, writable: m.Prot&unix.PROT_WRITE != 0, wd: -1}
	o.leaving.Store(true)
	if mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil {
		o.writable = mode&unix.O_ACCMODE == unix.O_RDWR
	}
	o.file = checkpoint.File{Path: m.Path, Dev: id.dev, Ino: id.ino, Live: true}
	refuse := func(err error) (checkpoint.File, error) {
		s.shared.watch.remove(o)
		s.shared.guard.remove(o)
		unix.Close(fd)
		return checkpoint.File{}, err
	}
	if !couldBePrivate(fd, &st) {
		return refuse(fmt.Errorf("%w: %s", errOthers, m.Path))
	}
	if !s.shared.watch.add(s, o) && st.Nlink > 0 {
		return refuse(fmt.Errorf("%w: %s cannot be watched", errOthers, m.Path))
	}
	o.guarded = st.Nlink > 0 && s.shared.guard.add(s, o)
	if who := s.outsiders(id, o.shown, family); who != 0 {
		return refuse(&usedError{m.Path, who})
	}
	s.register(o)
	return o.file, nil
}

// openMapped opens the file behind a mapping of a process at home, for ourselves.
// If it has neither a name nor a descriptor, nor the right to look behind
// mappings, a copy takes its place: nobody can tell, once its mappers have left.
func (s *Supervisor) openMapped(pid int, m linux.Mapping, family []int) (fd int, replaced bool, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	at := []string{dir + "/map_files/" + strconv.FormatUint(m.Start, 16) + "-" + strconv.FormatUint(m.End, 16)}
	if !strings.HasSuffix(m.Path, deletedMark) {
		at = append(at, dir+"/root"+m.Path)
	}
	for _, p := range family {
		fds := "/proc/" + strconv.Itoa(p) + "/fd"
		names, err := readNames(fds)
		if err != nil {
			continue // it has ended
		}
		var st unix.Stat_t
		for _, name := range names {
			if unix.Stat(fds+"/"+name, &st) == nil && st.Ino == m.Ino && st.Mode&unix.S_IFMT == unix.S_IFREG {
				at = append(at, fds+"/"+name)
			}
		}
	}
	for _, mode := range []int{unix.O_RDWR, unix.O_RDONLY} {
		if mode == unix.O_RDONLY && m.Prot&unix.PROT_WRITE != 0 {
			break
		}
		for _, path := range at {
			var st unix.Stat_t // to open a device may do something
			if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			fd, err := unix.Open(path, mode|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				continue
			}
			if isMapped(fd, m) {
				return fd, false, nil
			}
			unix.Close(fd)
		}
	}
	if !strings.HasSuffix(m.Path, deletedMark) {
		return -1, false, fmt.Errorf("%w: %s cannot be opened", errOthers, m.Path)
	}
	if fd, err = copyMapped(m, family); err != nil {
		return -1, false, fmt.Errorf("copy of %s: %w", m.Path, err)
	}
	return fd, true, nil
}

// isMapped tells whether a mapping shows a file.
func isMapped(fd int, m linux.Mapping) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != m.Ino {
		return false
	}
	if st.Dev == m.Dev {
		return true
	}
	shown, err := shownAs(fd)
	return err == nil && shown == fileID{m.Dev, m.Ino}
}

// copyMapped makes a memfd of what a family, which stands still, maps of a file.
func copyMapped(m linux.Mapping, family []int) (int, error) {
	fd, err := unix.MemfdCreate("homing-leaves", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	buf := make([]byte, 256<<10)
	zeros := make([]byte, checkpoint.PageSize)
	size := int64(0)
	for _, pid := range family {
		maps, err := linux.Mappings(pid)
		if err != nil {
			continue // it has ended
		}
		for _, v := range maps {
			if v.Ino != m.Ino || v.Dev != m.Dev || !v.Shared || v.Prot&unix.PROT_READ == 0 {
				continue
			}
			for at := v.Start; at < v.End; {
				n, err := linux.ReadMemory(pid, at, buf[:min(uint64(len(buf)), v.End-at)])
				for off := 0; off < n; off += checkpoint.PageSize {
					p := buf[off:min(off+checkpoint.PageSize, n)]
					pos := int64(v.Offset + at - v.Start + uint64(off))
					if size = max(size, pos+int64(len(p))); bytes.Equal(p, zeros[:len(p)]) {
						continue
					}
					if _, err := unix.Pwrite(fd, p, pos); err != nil {
						unix.Close(fd)
						return -1, err
					}
				}
				if at += uint64(n); err != nil {
					break // behind the end of the file
				}
			}
		}
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// sharedLeft notes that a group has left with the files that it shares. Who has
// opened one meanwhile was not asked what for.
func (s *Supervisor) sharedLeft() {
	for _, o := range s.awayFiles() {
		if o.leaving.Swap(false) {
			go s.lookAgain(o)
		}
	}
}

// sharedStays notes that a group which was to leave stays.
func (s *Supervisor) sharedStays() {
	for _, o := range s.awayFiles() {
		if !o.leaving.Load() {
			continue
		}
		o.mu.Lock()
		if o.at != nil && !o.closed {
			s.dropLater(o.at, o.file)
		}
		s.closeShared(o)
		o.mu.Unlock()
	}
}

// alsoOpen adds to a family the job's processes at home that have a file open
// which it maps shared, without mapping it.
func (s *Supervisor) alsoOpen(family []int) []int {
	want := map[fileID]bool{}
	for _, pid := range family {
		maps, err := linux.Mappings(pid)
		if err != nil {
			continue
		}
		for _, m := range maps {
			if mayShare(m) {
				want[fileID{m.Dev, m.Ino}] = true
			}
		}
	}
	if len(want) == 0 {
		return family
	}
	t := s.ownProcesses()
	for other := range t.stats {
		if slices.Contains(family, other) || !s.isNative(t, other) || s.isAway(other) {
			continue
		}
		for id := range openFilesOf(other) { // by stat(2): on overlayfs and btrfs none is found, and the family stays
			if want[id] {
				family = append(family, other)
				break
			}
		}
	}
	return family
}
