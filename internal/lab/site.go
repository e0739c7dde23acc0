package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const sitePrefix = "homing-lab-"

// A site is the lab's private directory. It is in use as long as someone holds
// an exclusive flock(2) on it.
type site struct {
	dir  string
	home string   // home's state directory
	root string   // where a node mounts its root, in its own mount namespace
	lock *os.File // the directory, locked
}

// newSite sweeps what killed labs left in tmp, and makes a directory for this one.
func newSite(tmp string) (*site, error) {
	sweep(tmp)
	for range 100 {
		dir, err := os.MkdirTemp(tmp, sitePrefix)
		if err != nil {
			return nil, fmt.Errorf("make a directory for the lab: %w; set TMPDIR to a place where you may write", err)
		}
		lock, err := lockDir(dir, unix.LOCK_EX)
		if errors.Is(err, os.ErrNotExist) {
			continue // swept between its making and its locking
		}
		if err != nil {
			return nil, fmt.Errorf("lock the lab's directory: %w", err)
		}
		s := &site{dir: dir, lock: lock}
		if s.home, err = stateDir(dir, "home"); err == nil {
			s.root, err = stateDir(dir, "root")
		}
		if err != nil {
			return nil, errors.Join(err, s.remove())
		}
		return s, nil
	}
	return nil, fmt.Errorf("make a directory for the lab in %s: it is taken away each time", tmp)
}

// remove deletes the directory and then frees its lock.
func (s *site) remove() error {
	err := os.RemoveAll(s.dir)
	s.lock.Close()
	if err != nil {
		return fmt.Errorf("remove the lab's directory: %w", err)
	}
	return nil
}

// sweep removes the directories of labs which were killed. What cannot be
// removed, because it is another user's or in use, is left.
func sweep(tmp string) {
	dirs, _ := filepath.Glob(filepath.Join(tmp, sitePrefix+"*"))
	for _, dir := range dirs {
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
			continue
		}
		lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		lock.Close()
	}
}

// lockDir locks a directory that we own. The error is os.ErrNotExist if
// it was removed before the lock was had.
func lockDir(dir string, how int) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), dir)
	var open, now unix.Stat_t
	if err := unix.Fstat(fd, &open); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "fstat", Path: dir, Err: err}
	}
	if int(open.Uid) != os.Geteuid() {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: os.ErrPermission}
	}
	if err := unix.Flock(fd, how); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	if err := unix.Lstat(dir, &now); err != nil || now.Ino != open.Ino || now.Dev != open.Dev {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: os.ErrNotExist}
	}
	return f, nil
}
