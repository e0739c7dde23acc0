package lab

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"homing/internal/fault"
)

// NodeCommand is the hidden subcommand that becomes a lab's node.
const NodeCommand = "lab-node"

// Descriptors that a lab's node inherits, and is told of by hidden flags of
// `homing node`: --report-fd, --dial-fd and --control-fd.
const (
	nodeListenFD  = 3 // the listening socket; the number that socket activation prescribes, sd_listen_fds(3)
	nodeReportFD  = 4 // the report pipe
	nodeDialFD    = 5 // the socket to the switchboard, see DialerOf
	nodeControlFD = 6 // the listening socket of the node's owner
	nodeFaultFD   = 7 // the directory of package fault, in some tests
)

// NodeMain runs as pid 1 of the namespaces that startNode made. It builds the
// node's root file system and executes `homing node` in it; it returns only an
// error. args are the root's mount point, the prepared state directory and the
// node's name.
func NodeMain(args []string) error {
	if len(args) != 3 || os.Getpid() != 1 {
		return fmt.Errorf("%s is for `homing lab` alone", NodeCommand)
	}
	root, state, name := args[0], args[1], args[2]
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := buildRoot(root, state); err != nil {
		return err
	}
	if err := enterRoot(root); err != nil {
		return err
	}
	return execNode(name)
}

// buildRoot mounts a tmpfs on root and puts into it what a node has: homing,
// an empty /proc of its own, /dev/null, perhaps /dev/userfaultfd, and its state. None of it is seen
// outside this mount namespace.
func buildRoot(root, state string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("homing", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	for _, dir := range []string{"proc", "dev", "state", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := placeFile("/dev/null", filepath.Join(root, "dev/null")); err != nil {
		return fmt.Errorf("provide /dev/null: %w", err)
	}
	// Where the user may use it post-copy is possible, see package transfer.
	const faults = "/dev/userfaultfd"
	if unix.Access(faults, unix.R_OK|unix.W_OK) == nil {
		if err := placeFile(faults, filepath.Join(root, faults[1:])); err != nil {
			return fmt.Errorf("provide %s: %w", faults, err)
		}
	}
	if err := placeSelf(filepath.Join(root, "homing")); err != nil {
		return fmt.Errorf("provide the executable: %w", err)
	}
	if err := os.Chmod(filepath.Join(root, "state"), 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(root, "state"), os.DirFS(state)); err != nil {
		return fmt.Errorf("provide the state: %w", err)
	}
	if err := keepPrivate(filepath.Join(root, "state")); err != nil {
		return err
	}
	// A fresh procfs shows this pid namespace only. In a container whose own
	// /proc is partly hidden the kernel refuses it, user_namespaces(7).
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", flags, ""); err != nil {
		return fmt.Errorf("mount a fresh /proc: %w (in a container, run it with an unmasked /proc)", err)
	}
	return nil
}

// keepPrivate takes away from others the rights that os.CopyFS may have given.
func keepPrivate(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}

// placeFile makes a file of the outside appear at dst.
func placeFile(src, dst string) error {
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(src, dst, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "bind mount", Path: src, Err: err}
	}
	return nil
}

// placeSelf makes the running executable appear at dst: by a bind mount when
// its name still leads to it, else (it was replaced meanwhile) by a copy.
func placeSelf(dst string) error {
	const self = "/proc/self/exe"
	path, err := os.Readlink(self)
	if err != nil {
		return err
	}
	running, err := os.Stat(self)
	if err != nil {
		return err
	}
	if named, err := os.Stat(path); err == nil && os.SameFile(named, running) {
		if placeFile(path, dst) == nil {
			return nil
		}
	}
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// enterRoot makes root the root of this mount namespace and drops the old one,
// by the stacked form of pivot_root(2) that needs no directory for it.
func enterRoot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return &os.PathError{Op: "chdir", Path: root, Err: err}
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("drop the old root: %w", err)
	}
	return os.Chdir("/")
}

// execNode becomes the daemon. Nothing but these descriptors is handed on, whatever the lab itself had inherited.
func execNode(name string) error {
	if err := unix.CloseRange(nodeControlFD+1, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	// An ordinary user's node gives up its borrowed rights: without ambient
	// capabilities execve(2) drops all, see capabilities(7).
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	argv := []string{
		"homing", "node", "--listen", "fd", "--name", name, "--state", "/state", "--report-fd", strconv.Itoa(nodeReportFD),
		"--dial-fd", strconv.Itoa(nodeDialFD), "--control-fd", strconv.Itoa(nodeControlFD),
	}
	env := []string{"HOME=/", "PATH=/", "LISTEN_FDS=1", "LISTEN_PID=1"}
	if dir := os.Getenv(fault.Variable); dir != "" {
		env = append(env, fault.Variable+"="+dir)
		if _, err := unix.FcntlInt(nodeFaultFD, unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("hand on descriptor %d: %w", nodeFaultFD, err)
		}
	}
	return fmt.Errorf("execute the node: %w", unix.Exec("/homing", argv, env))
}
