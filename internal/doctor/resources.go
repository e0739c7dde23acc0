package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"homing/checkpoint/transfer"
	"homing/internal/linux"

	"golang.org/x/sys/unix"
)

func probeArch(*findings) finding {
	return finding{runtime.GOARCH == "amd64", runtime.GOARCH}
}

func probeMMMap(*findings) finding {
	size, err := mmMapSize()
	return result(err, fmt.Sprintf("struct of %d bytes", size))
}

// probePagemapScan looks for the one page of four that was written.
func probePagemapScan(*findings) finding {
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return result(err, "")
	}
	defer func() { _ = unix.Munmap(mem) }()
	mem[2*page] = 1
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return result(err, "")
	}
	defer f.Close()
	start := addressOf(mem)
	regions, err := linux.ScanPages(int(f.Fd()), start, start+uint64(4*page), linux.PageIsPresent, 0, 0, linux.PageIsPresent, nil)
	if err != nil {
		return result(fmt.Errorf("scan: %w", err), "")
	}
	// A huge page may have made its neighbours present as well.
	if !slices.ContainsFunc(regions, func(r linux.PageRegion) bool {
		at := start + uint64(2*page)
		return r.Start <= at && at < r.End
	}) {
		return finding{false, "a written page was not found"}
	}
	return found("works")
}

func probeSharedMemory(*findings) finding {
	m, err := linux.NewSharedMemory(1 << 20)
	if err != nil {
		return result(fmt.Errorf("make a segment: %w", err), "")
	}
	return result(m.Close(), "works")
}

func probePidfd(*findings) finding {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return result(fmt.Errorf("pidfd_open: %w", err), "")
	}
	defer unix.Close(fd)
	other, err := unix.PidfdGetfd(fd, 2, 0)
	if err != nil {
		return result(fmt.Errorf("pidfd_getfd: %w", err), "")
	}
	return result(unix.Close(other), "works")
}

func probePreCopy(*findings) finding { return result(transfer.Probe().Track, "works") }

// probePostCopy looks for a userfaultfd of a guest that serves the kernel's
// accesses, too. A guest has no rights of its own to make one.
func probePostCopy(*findings) finding {
	s := transfer.Probe()
	b, _ := os.ReadFile("/proc/sys/vm/unprivileged_userfaultfd") // not there before Linux 5.2
	switch {
	case s.Fault != nil:
		return result(s.Fault, "")
	case strings.TrimSpace(string(b)) == "1":
		return found("vm.unprivileged_userfaultfd is 1")
	case s.FaultDevice:
		return found("by /dev/userfaultfd")
	}
	return finding{false, "neither vm.unprivileged_userfaultfd nor /dev/userfaultfd"}
}

func probePostCopyForks(*findings) finding {
	s := transfer.Probe()
	switch {
	case s.Fault != nil:
		return finding{false, "no post-copy here"}
	case !s.Forks:
		return finding{false, "only root is told of forks"}
	}
	return found("works")
}

// probeAttach looks whether we may trace what is no descendant of ours.
func probeAttach(*findings) finding {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if scope := strings.TrimSpace(string(b)); err == nil && scope != "0" && (os.Geteuid() != 0 || scope == "3") {
		return finding{false, "kernel.yama.ptrace_scope is " + scope}
	}
	return found("allowed")
}

// atLeast checks the hard limit, to which a process may raise itself.
func atLeast(resource int, least uint64, unit uint64, name string) finding {
	var lim unix.Rlimit
	if err := unix.Getrlimit(resource, &lim); err != nil {
		return result(err, "")
	}
	text := fmt.Sprintf("at most %d %s", lim.Max/unit, name)
	if lim.Max == unix.RLIM_INFINITY {
		text = "no limit"
	}
	return finding{lim.Max >= least, text}
}

func probeFiles(*findings) finding     { return atLeast(unix.RLIMIT_NOFILE, 16384, 1, "files") }
func probeProcesses(*findings) finding { return atLeast(unix.RLIMIT_NPROC, 4096, 1, "processes") }
func probeMemlock(*findings) finding   { return atLeast(unix.RLIMIT_MEMLOCK, 8<<20, 1<<10, "KiB") }

// probeCgroup tries to make a cgroup below our own, cgroups(7).
func probeCgroup(*findings) finding {
	dir, err := ownCgroup()
	if err != nil {
		return result(err, "")
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return result(err, "")
	}
	have := strings.Fields(string(b))
	for _, want := range []string{"cpu", "memory"} {
		if !slices.Contains(have, want) {
			return finding{false, fmt.Sprintf("controller %s is not delegated to %s", want, dir)}
		}
	}
	try := filepath.Join(dir, fmt.Sprintf("homing-doctor-%d", os.Getpid()))
	if err := os.Mkdir(try, 0o755); err != nil {
		return result(err, "")
	}
	return result(os.Remove(try), "delegated: "+dir)
}

// ownCgroup is the directory of our cgroup in the version 2 hierarchy.
func ownCgroup() (string, error) {
	mount := ""
	err := eachLine("/proc/self/mountinfo", func(l string) {
		if left, right, ok := strings.Cut(l, " - "); ok && strings.HasPrefix(right, "cgroup2 ") {
			if f := strings.Fields(left); len(f) > 4 {
				mount = f[4]
			}
		}
	})
	own := ""
	err = errors.Join(err, eachLine("/proc/self/cgroup", func(l string) {
		if path, ok := strings.CutPrefix(l, "0::"); ok {
			own = path
		}
	}))
	if err != nil {
		return "", err
	}
	if mount == "" || own == "" {
		return "", errors.New("cgroup v2 is not mounted")
	}
	return filepath.Join(mount, own), nil
}

func eachLine(path string, do func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		do(sc.Text())
	}
	return sc.Err()
}

// probeClock asks the kernel whether something keeps its clock right,
// adjtimex(2).
func probeClock(*findings) finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return result(err, "")
	}
	const timeError, unsynchronised = 5, 0x40
	if state == timeError || t.Status&unsynchronised != 0 {
		return finding{false, "not synchronised"}
	}
	return found("within %d µs", t.Maxerror)
}
