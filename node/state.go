package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names in the state directory.
const (
	homesDir    = "homes"
	tokensDir   = "tokens"
	jobsDir     = "jobs"
	nodesFile   = "nodes.toml"
	nodesLock   = "nodes.lock"
	daemonFile  = "daemon.json"
	controlFile = "node.sock"
	lockFile    = "lock"
)

// StateDir is where this user's state lives: asked (a --state flag) if not
// empty, else $HOMING_STATE, else homing in $XDG_STATE_HOME or in
// ~/.local/state. See the XDG base directory specification.
func StateDir(asked string) (string, error) {
	if asked == "" {
		asked = os.Getenv("HOMING_STATE")
	}
	if asked != "" {
		return filepath.Abs(asked)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "homing"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w; give --state DIR or set HOMING_STATE", err)
	}
	return filepath.Join(home, ".local", "state", "homing"), nil
}

// makeDir makes a directory of the state, for its owner alone.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w; give --state DIR for a place where you may write", err)
	}
	return nil
}

// writeFile replaces a file as a whole.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new*") // mode 0600
	if err != nil {
		return fmt.Errorf("write state: %w; give --state DIR for a place where you may write", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func writeJSON(path string, v any) error {
	return writeFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is damaged (%w): remove it", path, err)
	}
	return nil
}

// readAll reads every JSON file of a directory of the state; one that does not
// exist is empty.
func readAll[T any](dir string, each func(path string, v T)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		var v T
		err := readJSON(path, &v)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		each(path, v)
	}
	return nil
}

// BusyError says that a daemon already uses a state directory.
type BusyError struct {
	Dir string
	PID int
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("state directory %s is in use by another homing node (pid %d): stop it, or give this one its own --state DIR", e.Dir, e.PID)
}

// lockState takes the state directory for a daemon. The lock is the process's
// and ends with it; the file must stay open, and be opened nowhere else, for
// closing any descriptor of it frees the lock, fcntl(2).
func lockState(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w; give --state DIR for a place where you may write", err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		_ = unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk)
		err = &BusyError{Dir: dir, PID: int(lk.Pid)}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// daemonPID is the daemon that holds a state directory, 0 if none does.
func daemonPID(dir string) (int, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk); err != nil {
		return 0, fmt.Errorf("look at the lock of %s: %w", dir, err)
	}
	if lk.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lk.Pid), nil
}
