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
	size  int64
	name  string // file in dir; empty: in memory
	used  time.Time
}

// maxCache bounds the contents kept, in bytes. Those used last stay; bodies that
// map a content keep it alive by themselves.
const maxCache = 8 << 30

// minAge keeps contents that may be on their way into a body.
const minAge = time.Minute

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
	if err := empty(dir); err != nil {
		return nil, err
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
	for {
		c.mu.Lock()
		e := c.files[k]
		mine := e == nil
		if mine {
			e = &cached{ready: make(chan struct{}), fd: -1, size: f.Size}
			c.files[k] = e
		}
		e.used = time.Now()
		c.mu.Unlock()
		if mine {
			c.fill(sess, f, k, e)
			return e.fd, e.err
		}
		select {
		case <-e.ready:
		case <-sess.Done():
			return -1, errors.New("session ended")
		}
		if e.err == nil {
			return e.fd, nil
		}
		// Whoever fetched it failed, perhaps because his session ended: try ourselves.
	}
}

// fill fetches a content and makes room for it.
func (c *cache) fill(sess *kkc.Session, f checkpoint.File, k cacheKey, e *cached) {
	e.fd, e.name, e.err = c.fetch(sess, f, c.dir)
	if c.dir != "" && errors.Is(e.err, unix.ENOSPC) {
		c.log.Warn("image cache: no space left on device; contents are kept in memory", "dir", c.dir)
		e.fd, e.name, e.err = c.fetch(sess, f, "")
	}
	c.mu.Lock()
	if e.err != nil {
		delete(c.files, k)
	}
	c.evict()
	c.mu.Unlock()
	close(e.ready)
}

// evict drops the contents that have not been used for longest until the rest
// fits. c.mu is held.
func (c *cache) evict() {
	total := int64(0)
	for _, e := range c.files {
		total += e.size
	}
	for total > maxCache {
		var oldest cacheKey
		var victim *cached
		for k, e := range c.files {
			if e.fd >= 0 && time.Since(e.used) > minAge && (victim == nil || e.used.Before(victim.used)) {
				oldest, victim = k, e
			}
		}
		if victim == nil {
			return
		}
		delete(c.files, oldest)
		unix.Close(victim.fd)
		if victim.name != "" {
			_ = os.Remove(victim.name) // another home's file of the same content may have gone before
		}
		total -= victim.size
	}
}

// empty removes what a daemon left that has ended: which files of which home
// its contents were is not known any more.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("image cache: %w", err)
		}
	}
	return nil
}

// fetch gets a file's content from home and verifies it.
func (c *cache) fetch(sess *kkc.Session, f checkpoint.File, dir string) (fd int, name string, err error) {
	fd, tmp, err := create(dir)
	if err != nil {
		return -1, "", err
	}
	sum, err := receiveFile(sess, f, fd)
	if err != nil {
		unix.Close(fd)
		if tmp != "" {
			_ = os.Remove(tmp)
		}
		return -1, "", err
	}
	if tmp != "" {
		name = filepath.Join(dir, hex.EncodeToString(sum))
		if err := os.Rename(tmp, name); err != nil {
			_ = os.Remove(tmp)
			unix.Close(fd)
			return -1, "", fmt.Errorf("image cache: %w", err)
		}
	}
	// Bodies get it read-only.
	ro, err := unix.Open("/proc/self/fd/"+itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	unix.Close(fd)
	if err != nil {
		return -1, "", fmt.Errorf("image cache: %w", err)
	}
	as, err := mappedAs(ro)
	if err != nil {
		unix.Close(ro)
		return -1, "", fmt.Errorf("image cache: %w", err)
	}
	c.mu.Lock()
	c.origins[as] = f
	c.mu.Unlock()
	return ro, name, nil
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

// create makes a new file in dir, or in memory if that is empty.
func create(dir string) (fd int, tmp string, err error) {
	if dir == "" {
		fd, err = unix.MemfdCreate("homing-image", unix.MFD_CLOEXEC)
		if err != nil {
			return -1, "", fmt.Errorf("image cache: memfd: %w", err)
		}
		return fd, "", nil
	}
	f, err := os.CreateTemp(dir, "incoming-*")
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
