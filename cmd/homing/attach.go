package main

import (
	"context"
	"fmt"

	"homing/node"
	"homing/shadow"

	"github.com/urfave/cli/v2"
)

var attachCommand = &cli.Command{
	Name:      "attach",
	Usage:     "adopt running programs that were not started by homing; --to moves them at once",
	ArgsUsage: "PID... [--to NODE]",
	Description: "The program notices nothing, and is not traced until it leaves. What it forks from now on belongs\n" +
		"to it; --tree adopts what it has forked already as well.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "go to `NODE` in the same breath"},
		strategyFlag, rateFlag, treeFlag, moveJSONFlag, stateFlag,
	},
	Action: func(c *cli.Context) error {
		pids, err := pidArgs(c)
		if err != nil {
			return err
		}
		req, err := moveRequest(c, nil)
		if err != nil {
			return err
		}
		return carryOut(c, func(ctx context.Context, dir string, progress func(node.MoveEvent)) (node.MoveResult, error) {
			res := node.MoveResult{}
			if req.To != "" && req.To != node.AtHome {
				if _, err := node.Lookup(dir, req.To); err != nil {
					return res, err
				}
			}
			for _, pid := range pids {
				err := adopt(dir, pid, c.Bool("tree"))
				switch {
				case err != nil:
					res.Failed = append(res.Failed, node.MoveFailure{PIDs: []int{pid}, Why: "not adopted: " + err.Error()})
				case req.To != "":
					req.PIDs = append(req.PIDs, pid)
				case !c.Bool("json"):
					fmt.Printf("%d: adopted; it goes on as before\n", pid)
				}
			}
			if len(req.PIDs) == 0 {
				return res, nil
			}
			moved, err := node.Move(ctx, dir, req, progress)
			for _, f := range moved.Failed {
				f.Why += " (adopted, but not moved)"
				res.Failed = append(res.Failed, f)
			}
			res.Moved = moved.Moved
			return res, err
		})
	},
}

// adopt attaches to one process.
func adopt(dir string, pid int, tree bool) error {
	procs, err := node.Jobs(dir)
	for _, p := range procs {
		if p.PID == pid {
			return fmt.Errorf("it belongs to a job of homing already (%d); `homing migrate %d --to NODE` moves it", p.Job, pid)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot tell whose it is: %w", err)
	}
	return shadow.Attach(shadow.Config{Attach: pid, Tree: tree, StateDir: dir, Version: version})
}
