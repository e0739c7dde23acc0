package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	MaybeProbe()
	if len(os.Args) > 1 && os.Args[1] == "examine" {
		if err := Examine(context.Background()).WriteJSON(os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestChecksAreComplete holds each row of the table to its promise.
func TestChecksAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks() {
		if c.Name == "" || c.Title == "" || len(c.For) == 0 || c.Cost == "" || c.Remedy == "" || c.probe == nil {
			t.Errorf("row %+v lacks something", c)
		}
		if seen[c.Name] {
			t.Errorf("two rows are called %s", c.Name)
		}
		seen[c.Name] = true
	}
}

// TestExamine runs all probes here. What this kernel allows is not asserted, but
// that every probe came to a finding of its own, is.
func TestExamine(t *testing.T) {
	rep := Examine(context.Background())
	for _, c := range rep.Checks {
		t.Logf("%-20s %-5v %s", c.Name, c.OK, c.Found)
		if c.Found == "" || strings.Contains(c.Found, "not tried") {
			t.Errorf("%s: found %q", c.Name, c.Found)
		}
		if c.OK != (c.Cost == "" && c.Remedy == "") {
			t.Errorf("%s: ok %v with cost %q, remedy %q", c.Name, c.OK, c.Cost, c.Remedy)
		}
	}
	var text bytes.Buffer
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "lend this machine") {
		t.Errorf("text:\n%s", &text)
	}
}

// TestOrdinaryUser wants root's probes and an ordinary user's to agree on what
// needs no rights.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("we are one")
	}
	dir, err := os.MkdirTemp("/tmp", "homing-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, _ := os.Executable()
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "doctor")
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "examine")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs Report
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, c := range Examine(context.Background()).Checks {
		ours[c.Name] = c.OK
	}
	for _, c := range theirs.Checks {
		switch c.Name {
		case "attach", "post-copy", "post-copy-forks", "cgroup", "namespaces", "empty-root", "proc", "set-tid", "time-ns":
			t.Logf("%s: root %v, nobody %v (%s)", c.Name, ours[c.Name], c.OK, c.Found)
		default:
			if c.OK != ours[c.Name] {
				t.Errorf("%s: root %v, nobody %v (%s)", c.Name, ours[c.Name], c.OK, c.Found)
			}
		}
	}
}

// TestFailureIsExplained gives a child no chance.
func TestFailureIsExplained(t *testing.T) {
	got := runChild(context.Background(), plainAttr(), "no-such-probe")
	if why := got[""]; why.OK || !strings.Contains(why.Text, `unknown probe "no-such-probe"`) {
		t.Errorf("%+v", got)
	}
	f := &findings{children: map[string]map[string]finding{podChild: got}}
	if c := fromChild(podChild, "set-tid")(f); c.OK || !strings.Contains(c.Text, "unknown probe") {
		t.Errorf("%+v", c)
	}
}
