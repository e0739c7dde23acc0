package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/kkc"
)

// cache is the node's store of file contents, shared by all homes. Contents
// are kept by their SHA-256; a home's name for a file (device, inode, size,
// times) leads to it.
type cache struct {
	dir string // empty: memory
	log *slog.Logger

	mu      sync.Mutex
	files   map[cacheKey]*cached
	origins map[inode]checkpoint.File
}

// inode is a cached file as the maps of a body show it.
type inode struct{ dev, ino uint64 }

type cacheKey struct {
	home string // fingerprint: inode numbers mean something only there
	file checkpoint.File
}

type cached struct {
	ready chan struct{}
	fd    int
	err   error
}

func newCache(dir string, log *slog.Logger) (*cache, error) {
	c := &cache{dir: dir, log: log, files: map[cacheKey]*cached{}, origins: map[inode]checkpoint.File{}}
	if dir == "" {
		return c, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		log.Info("image cache in memory: its directory is on a file system mounted noexec", "dir", dir)
		c.dir = ""
	}
	return c, nil
}

// get returns a descriptor of the file's content, fetching it if need be. The
// descriptor stays the cache's.
func (c *cache) get(sess *kkc.Session, f checkpoint.File) (int, error) {
	if f.Size < 0 {
		return -1, errors.New("negative size")
	}
	k := cacheKey{sess.Peer.Fingerprint, f}
	k.file.Path = ""
	c.mu.Lock()
	e := c.files[k]
	if e == nil {
		e = &cached{ready: make(chan struct{}), fd: -1}
		c.files[k] = e
		c.mu.Unlock()
		e.fd, e.err = c.fetch(sess, f)
		if e.err != nil {
			c.mu.Lock()
			delete(c.files, k)
			c.mu.Unlock()
		}
		close(e.ready)
		return e.fd, e.err
	}
	c.mu.Unlock()
	select {
	case <-e.ready:
	case <-sess.Done():
		return -1, errors.New("session ended")
	}
	return e.fd, e.err
}

// fetch gets a file's content from home and verifies it.
func (c *cache) fetch(sess *kkc.Session, f checkpoint.File) (int, error) {
	fd, tmp, err := c.create()
	if err != nil {
		return -1, err
	}
	sum, err := receiveFile(sess, f, fd)
	if err != nil {
		unix.Close(fd)
		if tmp != "" {
			_ = os.Remove(tmp)
		}
		return -1, err
	}
	if tmp != "" {
		final := filepath.Join(c.dir, hex.EncodeToString(sum))
		if err := os.Rename(tmp, final); err != nil {
			_ = os.Remove(tmp)
			unix.Close(fd)
			return -1, fmt.Errorf("image cache: %w", err)
		}
	}
	// Bodies get it read-only.
	ro, err := unix.Open("/proc/self/fd/"+itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	unix.Close(fd)
	if err != nil {
		return -1, fmt.Errorf("image cache: %w", err)
	}
	as, err := mappedAs(ro)
	if err != nil {
		unix.Close(ro)
		return -1, fmt.Errorf("image cache: %w", err)
	}
	c.mu.Lock()
	c.origins[as] = f
	c.mu.Unlock()
	return ro, nil
}

// inMemory tells whether contents are kept in memory rather than in files.
func (c *cache) inMemory() bool { return c.dir == "" }

// origin tells which file of home a mapping of a body shows, by the device and
// inode that /proc/PID/maps prints.
func (c *cache) origin(dev, ino uint64) (checkpoint.File, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.origins[inode{dev, ino}]
	return f, ok
}

// mappedAs tells how maps print a file. On overlayfs and btrfs that is not the
// device which stat(2) gives, so the file is mapped to see it.
func mappedAs(fd int) (inode, error) {
	mem, err := unix.Mmap(fd, 0, checkpoint.PageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return inode{}, err
	}
	defer func() { _ = unix.Munmap(mem) }()
	maps, err := linux.Mappings(unix.Getpid())
	if err != nil {
		return inode{}, err
	}
	at := addressOf(mem)
	for _, m := range maps {
		if at >= m.Start && at < m.End {
			return inode{m.Dev, m.Ino}, nil
		}
	}
	return inode{}, errors.New("own mapping not found")
}

func (c *cache) create() (fd int, tmp string, err error) {
	if c.dir == "" {
		fd, err = unix.MemfdCreate("homing-image", unix.MFD_CLOEXEC)
		if err != nil {
			return -1, "", fmt.Errorf("image cache: memfd: %w", err)
		}
		return fd, "", nil
	}
	f, err := os.CreateTemp(c.dir, "incoming-*")
	if err != nil {
		return -1, "", fmt.Errorf("image cache: %w", err)
	}
	defer f.Close()
	fd, err = unix.Dup(int(f.Fd()))
	if err != nil {
		_ = os.Remove(f.Name())
		return -1, "", err
	}
	unix.CloseOnExec(fd)
	return fd, f.Name(), nil
}

func receiveFile(sess *kkc.Session, f checkpoint.File, fd int) ([]byte, error) {
	if f.Size == 0 {
		sum := sha256.Sum256(nil)
		return sum[:], nil
	}
	if err := unix.Ftruncate(fd, f.Size); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	// Reserve the space: a full disk must be an error here, not a SIGBUS.
	if err := unix.Fallocate(fd, 0, 0, f.Size); err != nil && err != unix.EOPNOTSUPP {
		return nil, fmt.Errorf("image cache: %w; free some disk space on the node", err)
	}
	mem, err := unix.Mmap(fd, 0, int(f.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	id := sess.NextBulkID()
	received := make(chan error, 1)
	go func() { received <- sess.BulkRecv(ctx, id, mem) }()
	var reply protocol.FileReply
	if err := sess.Request(ctx, protocol.FileGet, protocol.FileRequest{File: f, Bulk: id}, &reply); err != nil {
		cancel()
		<-received
		return nil, err
	}
	if err := <-received; err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(mem); string(sum[:]) != string(reply.SHA256) {
		return nil, errors.New("content does not have the hash that home sent")
	}
	return reply.SHA256, nil
}
