package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// homing is the static executable under test: $HOMING if make has built it.
var homing = os.Getenv("HOMING")

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "homing-test-")
	if err == nil && homing == "" {
		homing = filepath.Join(dir, "homing")
		var out []byte
		out, err = exec.Command("go", "build", "-tags", "netgo,osusergo",
			"-ldflags", `-linkmode external -extldflags "-static"`, "-o", homing, ".").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build homing: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// TestCommands runs the scripts in testdata; see package testscript for their
// language. Each has its own state directory.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(homing)+":"+os.Getenv("PATH"))
			env.Setenv("HOMING_STATE", filepath.Join(env.WorkDir, "state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// status runs a command and wants an exit status: status 127 homing run -- PROG.
// What the command wrote is then in the variables of stdout and stderr.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: status N COMMAND ARGS...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = fmt.Sprint(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}
