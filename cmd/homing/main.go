// Command homing moves running programs to other machines and brings them back.
//
// main itself must do little. internal/nsinit has run before it, before Go's
// runtime: it has noted what the parent had set for signals, and become pid 1 of
// a pod where this executable was started as such. Main's goroutine is locked
// to the main thread from the start: `homing run` becomes the user's program by
// execve(2), which must come from the thread that carries the process's pid, and
// `homing lab` ties its children's lives to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"homing/internal/doctor"
	"homing/internal/lab"
	"homing/shadow"

	"github.com/urfave/cli/v2"
)

// version is set by the Makefile.
var version = "unknown"

// Exit statuses of homing's own, as of env(1) and docker-run(1). All others are
// the program's.
const (
	exitFailed        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

func init() { runtime.LockOSThread() }

func main() {
	doctor.MaybeProbe()
	if err := newApp().RunContext(context.Background(), flagsFirst(os.Args)); err != nil {
		os.Exit(fail(err))
	}
}

func newApp() *cli.App {
	return &cli.App{
		Name:            "homing",
		Usage:           "run programs on other machines as if they were here",
		Version:         version,
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {}, // main does it
		OnUsageError:    usageError,
		CommandNotFound: nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%q: no such command; homing --help lists them", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(),
	}
}

func commands() []*cli.Command {
	all := []*cli.Command{runCommand, migrateCommand, recallCommand, attachCommand, detachCommand, evictCommand, psCommand, nodeCommand, joinCommand, labCommand, doctorCommand, superviseCommand, labNodeCommand}
	for _, c := range all {
		c.HideHelpCommand = true
		c.OnUsageError = usageError
		for _, sub := range c.Subcommands {
			sub.HideHelpCommand = true
			sub.OnUsageError = usageError
		}
	}
	return all
}

func usageError(c *cli.Context, err error, _ bool) error {
	name := "homing"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != name {
		name += " " + c.Command.Name
	}
	return fmt.Errorf("%w; see %s --help", err, name)
}

// exitStatus is an error that only carries the status to end with.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// fail shows an error in one line and gives the exit status it stands for.
func fail(err error) int {
	var (
		status exitStatus
		launch *shadow.ExitError
		notRun *lab.NotRunError
	)
	if errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintln(os.Stderr, "homing:", strings.ReplaceAll(err.Error(), "\n", "; "))
	switch {
	case errors.As(err, &launch):
		return launch.Status
	case !errors.As(err, &notRun):
		return exitFailed
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	}
	return exitNotExecutable
}

// noArgs refuses arguments where none are taken.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s: unexpected argument %q; see homing %s --help", c.Command.Name, c.Args().First(), c.Command.Name)
	}
	return nil
}

// stateFlag is common to what uses the state directory.
var stateFlag = &cli.PathFlag{Name: "state", Usage: "keep keys and known nodes in `DIR` (default: $HOMING_STATE, or ~/.local/state/homing)"}
