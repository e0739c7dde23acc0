package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A Lab is a running `homing lab`: throw-away execution nodes that live until Close, or until this process ends.
type Lab struct {
	State string // its HOMING_STATE

	homing string
	report string
	log    string // what its nodes logged, kept after Close
	dir    string
	cmd    *exec.Cmd
	in     io.Closer
	stderr *lockedBuffer
	done   chan struct{}
}

var labs atomic.Int64

// StartLab starts a lab whose command only says where the state is and waits for the end of its input. env is added to
// its environment.
func StartLab(homing, dir string, u User, nodes int, delay string, env ...string) (*Lab, error) {
	l := &Lab{homing: homing, stderr: &lockedBuffer{}, done: make(chan struct{})}
	l.dir = filepath.Join(dir, fmt.Sprintf("lab-%s-%d", u.Name, labs.Add(1)))
	if err := makeDir(l.dir, u); err != nil {
		return nil, err
	}
	l.report = filepath.Join(l.dir, "report.json")
	if delay == "" {
		delay = "0s"
	}
	l.cmd = exec.Command(homing, "lab", "--nodes", strconv.Itoa(nodes), "--delay", delay, "--report", l.report, "--log", filepath.Join(l.dir, "log"),
		"--", "/bin/sh", "-c", `printf '%s\n' "$HOMING_STATE"; exec cat >/dev/null`)
	l.cmd.Dir = l.dir
	l.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + l.dir, "TMPDIR=" + l.dir, "LANG=C.UTF-8"}
	l.cmd.Env = append(l.cmd.Env, env...)
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: u.credential()}
	l.cmd.Stderr = l.stderr
	in, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	l.in = in
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("oracle: start the lab: %w", err)
	}
	said := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(out)
		s.Scan()
		said <- s.Text()
		for s.Scan() { // whatever else it says is of no interest, but must not block it
		}
		_ = l.cmd.Wait()
		close(l.done)
	}()
	select {
	case l.State = <-said:
	case <-time.After(20 * time.Second):
	}
	if l.State == "" {
		_ = l.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(200 * time.Millisecond)
		l.kill()
		return nil, fmt.Errorf("oracle: the lab did not start: %s", clip(l.stderr.String()))
	}
	return l, nil
}

// Alive tells whether the lab's process still runs.
func (l *Lab) Alive() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// Log is what the lab and its nodes have said.
func (l *Lab) Log() string {
	if l.log != "" {
		return l.log
	}
	b, _ := os.ReadFile(filepath.Join(l.dir, "log"))
	return "the lab says: " + clip(l.stderr.String()) + "\nits nodes say: " + clip(newest(string(b)))
}

func (l *Lab) kill() { _ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL) }

// Close ends the lab and reads its report.
func (l *Lab) Close() (*Report, error) {
	_ = l.in.Close()
	select {
	case <-l.done:
	case <-time.After(15 * time.Second):
		_ = l.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(300 * time.Millisecond)
		l.kill()
		return nil, fmt.Errorf("the lab did not end when its command had ended:\n%s", clip(l.stderr.String()))
	}
	l.log = l.Log()
	defer os.RemoveAll(l.dir)
	if st := l.cmd.ProcessState; st == nil || !st.Success() {
		return nil, fmt.Errorf("the lab ended with %v:\n%s", st, clip(l.stderr.String()))
	}
	b, err := os.ReadFile(l.report)
	if err != nil {
		return nil, fmt.Errorf("no report: %w", err)
	}
	return ParseReport(b)
}

// A Report is what `homing lab --report` says of each node.
type Report struct {
	Nodes []NodeReport `json:"nodes"`
}

// A NodeReport is the account of one node.
type NodeReport struct {
	Name       string         `json:"name"`
	Guests     int64          `json:"guests"`
	CPUSeconds float64        `json:"cpu_seconds"`
	Calls      int64          `json:"calls"`
	BytesIn    int64          `json:"bytes_in"`
	BytesOut   int64          `json:"bytes_out"`
	CameHome   map[string]int `json:"came_home"`
}

// ParseReport reads a report and refuses one that does not have what the judgement needs.
func ParseReport(b []byte) (*Report, error) {
	var r Report
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("the lab's report is no report: %w\n%s", err, clip(newest(string(b))))
	}
	if len(r.Nodes) == 0 {
		return nil, errors.New("the lab's report names no node:\n" + clip(newest(string(b))))
	}
	return &r, nil
}

// judge says what in the report speaks against the case having run away as it should.
func (r *Report) judge(c Case) []string {
	var guests, calls int64
	var cpu float64
	home := map[string]int{}
	for _, n := range r.Nodes {
		guests += n.Guests
		calls += n.Calls
		cpu += n.CPUSeconds
		for why, times := range n.CameHome {
			home[why] += times
		}
	}
	var bad []string
	if guests == 0 && !c.AtHome {
		bad = append(bad, "ran at home: the report knows no guest")
	}
	if guests > 0 && cpu <= 0 && calls <= 0 {
		bad = append(bad, "the report knows a guest that neither computed nor made a call")
	}
	switch {
	case c.AtHome:
	case c.Home != "" && !hasReason(home, c.Home):
		bad = append(bad, fmt.Sprintf("should have come home because of %q; the report says %v", c.Home, home))
	case c.Home == "" && !c.MayComeHome && len(home) > 0:
		bad = append(bad, fmt.Sprintf("came home: %v", home))
	}
	return bad
}

func hasReason(home map[string]int, part string) bool {
	for why := range home {
		if strings.Contains(why, part) {
			return true
		}
	}
	return false
}

// newest is the part of a log that begins with the stacks of a node that was asked for them.
func newest(log string) string {
	if i := strings.Index(log, "SIGQUIT: quit"); i >= 0 {
		return log[i:]
	}
	return log
}
