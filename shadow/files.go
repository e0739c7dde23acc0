package shadow

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
)

// files are the files that the job's guests map: held open, so that their
// content can be served, and mapped again at home, even after they were
// renamed or removed.
type files struct {
	mu   sync.Mutex
	open map[checkpoint.File]int
}

func (f *files) init() { f.open = map[checkpoint.File]int{} }

func identify(fd int, path string) (checkpoint.File, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return checkpoint.File{}, false
	}
	return checkpoint.File{
		Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(),
	}, true
}

// adopt takes over descriptor fd; false (and closed) if it is no regular file.
func (f *files) adopt(fd int) (checkpoint.File, bool) {
	file, ok := identify(fd, readlink(unix.Getpid(), "fd/"+strconv.Itoa(fd)))
	if !ok {
		unix.Close(fd)
		return file, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.open[file]; known {
		unix.Close(fd)
	} else {
		f.open[file] = fd
	}
	return file, true
}

// resolver finds the files behind a process's mappings by path, as the process
// sees it; the inode must be the one that is mapped.
func (f *files) resolver(pid int) checkpoint.FileResolver {
	seen := map[string]checkpoint.File{}
	return func(m linux.Mapping) (checkpoint.File, bool) {
		if file, ok := seen[m.Path]; ok && file.Ino == m.Ino {
			return file, true
		}
		if strings.HasSuffix(m.Path, " (deleted)") {
			return checkpoint.File{}, false
		}
		fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root"+m.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return checkpoint.File{}, false
		}
		file, ok := f.adopt(fd)
		if !ok || file.Ino != m.Ino {
			return checkpoint.File{}, false
		}
		seen[m.Path] = file
		return file, true
	}
}

func (f *files) descriptor(file checkpoint.File) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fd, ok := f.open[file]
	return fd, ok
}

// sendFile serves FileGet: the content goes over the bulk connection, its hash
// comes back as the answer.
func (s *Supervisor) sendFile(at *site, _ context.Context, req protocol.FileRequest) (any, error) {
	fd, ok := s.files.descriptor(req.File)
	if !ok {
		return nil, fmt.Errorf("file %s (inode %d) is not one this job maps", req.File.Path, req.File.Ino)
	}
	now, ok := identify(fd, req.File.Path)
	if !ok || now != req.File {
		s.log.Warn("mapped file changed while it was fetched", "path", req.File.Path)
	}
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < req.File.Size; {
		want := min(int64(len(buf)), req.File.Size-off)
		n, err := unix.Pread(fd, buf[:want], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", req.File.Path, err)
		}
		if n == 0 { // truncated meanwhile: what is missing reads as zeros
			clear(buf[:want])
			n = int(want)
		}
		h.Write(buf[:n])
		if err := at.sess.BulkSend(req.Bulk, buf[:n]); err != nil {
			return nil, err
		}
		off += int64(n)
	}
	return protocol.FileReply{SHA256: h.Sum(nil)}, nil
}
