package oracle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marked finds the processes that carry the mark of a run in their environment. Zombies have none, and are somebody's to wait for.
func marked(mark string) []int {
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	want := []byte(markVar + "=" + mark + "\x00")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && bytes.Contains(env, want) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// leftovers waits a little for the run's processes to be gone, and describes those that stay.
func (r *Run) leftovers(patience time.Duration) string {
	end := time.Now().Add(patience)
	for {
		pids := marked(r.mark)
		if len(pids) == 0 {
			return ""
		}
		if time.Now().After(end) {
			var b strings.Builder
			for _, pid := range pids {
				b.WriteString(describeProcess(pid))
			}
			return b.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// diagnose collects what the kernel and homing know about a run that hangs.
func (r *Run) diagnose() string {
	var b strings.Builder
	pids := marked(r.mark)
	for _, pid := range pids {
		b.WriteString(describeProcess(pid))
	}
	if r.Place.Lab == nil {
		return clip(b.String())
	}
	text := clip(b.String())
	for _, pid := range pids { // Go programs of ours print their stacks and end
		if cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(cmd, []byte("supervise")) {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
		}
	}
	for _, pid := range nodesOf(r.Place.Lab.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
	time.Sleep(300 * time.Millisecond)
	logs := r.Place.Lab.stderr.String()
	_ = filepath.WalkDir(r.Place.Lab.State, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.HasSuffix(path, ".log") || filepath.Base(path) == "log") {
			if l, err := os.ReadFile(path); err == nil {
				logs += "\n" + path + ":\n" + string(l)
			}
		}
		return nil
	})
	return text + "--- homing says\n" + clip(logs) + "\n"
}

// nodesOf finds the nodes that a lab has started.
func nodesOf(lab int) (pids []int) {
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", lab))
	for _, c := range children {
		b, _ := os.ReadFile(c)
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if cmd, _ := os.ReadFile("/proc/" + f + "/cmdline"); err == nil && bytes.Contains(cmd, []byte("node\x00--listen")) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// describeProcess is a process as the kernel sees it: state, and for each thread where it waits.
func describeProcess(pid int) string {
	read := func(name string) string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pid %d: %s\n", pid, read("cmdline"))
	for _, line := range strings.Split(read("status"), "\n") {
		key, _, _ := strings.Cut(line, ":")
		switch key {
		case "State", "PPid", "TracerPid", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigCgt", "Seccomp":
			b.WriteString("  " + strings.ReplaceAll(line, "\t", " "))
		}
	}
	b.WriteString("\n")
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		at := "task/" + t.Name() + "/"
		stack := strings.Split(read(at+"stack"), "\n")
		if len(stack) > 4 {
			stack = stack[:4]
		}
		fmt.Fprintf(&b, "  tid %s wchan %s syscall %s\n    %s\n", t.Name(), read(at+"wchan"), read(at+"syscall"), strings.Join(stack, "\n    "))
	}
	return b.String()
}
