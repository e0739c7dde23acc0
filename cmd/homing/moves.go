package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"homing/node"
	"homing/shadow"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// carryOut runs what a command does, shows how far it is, and prints what came
// of it. The first Ctrl-C has the move taken back, the second ends the command.
func carryOut(c *cli.Context, do func(context.Context, string, func(node.MoveEvent)) (node.MoveResult, error)) error {
	dir, err := node.StateDir(c.Path("state"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	defer stop()
	line := newProgress(os.Stderr)
	res, err := do(ctx, dir, line.show)
	line.clear()
	for i := range res.Failed {
		explain(&res.Failed[i])
	}
	if c.Bool("json") {
		if encErr := writeMovesJSON(os.Stdout, res); encErr != nil {
			return encErr
		}
	} else {
		for _, rep := range res.Moved {
			detached := c.Command.Name == "detach"
			if !detached || rep.From != rep.To {
				writeTimeline(os.Stdout, rep)
			}
			if detached {
				fmt.Printf("%s: an ordinary process again\n", joinPIDs(rep.PIDs))
			}
		}
	}
	for _, f := range res.Failed {
		fmt.Fprintf(os.Stderr, "homing: %s%s\n", subject(f.PIDs), strings.ReplaceAll(f.Why, "\n", "; "))
	}
	if err == nil && len(res.Failed) > 0 {
		return exitStatus(1)
	}
	return err
}

// explain says more of a process that no job has: why it cannot be adopted either.
func explain(f *node.MoveFailure) {
	if f.NotHeld {
		if err := shadow.Attachable(f.PIDs[0]); err != nil {
			f.Why = err.Error()
		}
	}
}

func subject(pids []int) string {
	if len(pids) == 0 {
		return ""
	}
	return joinPIDs(pids) + ": "
}

func joinPIDs(pids []int) string {
	var words []string
	for _, pid := range pids {
		words = append(words, strconv.Itoa(pid))
	}
	return strings.Join(words, " ")
}

func writeMovesJSON(f *os.File, res node.MoveResult) error {
	if res.Moved == nil {
		res.Moved = []node.MoveReport{}
	}
	if res.Failed == nil {
		res.Failed = []node.MoveFailure{}
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}
