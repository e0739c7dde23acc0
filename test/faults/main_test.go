// Package faults_test makes moves fail in each of their phases, by the points of
// package fault, and looks at what is left: the program runs on at exactly one
// side, or has ended with a message; the command says what happened; nothing of
// the attempt is left anywhere; the next move succeeds.
package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var homing, programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "faults-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func prepare(dir string) error {
	homing, programs = filepath.Join(dir, "homing"), dir
	build := exec.Command("go", "build", "-o", homing, "homing/cmd/homing")
	if given := os.Getenv("HOMING"); given != "" {
		build = exec.Command("cp", given, homing)
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("get homing: %w\n%s", err, out)
	}
	out, err := exec.Command("gcc", "-O1", "-pthread", "-o", filepath.Join(dir, "victim"), "testdata/victim.c").CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile: %w\n%s", err, out)
	}
	return nil
}
