package main

import (
	"context"
	"errors"

	"homing/node"

	"github.com/urfave/cli/v2"
)

var recallCommand = &cli.Command{
	Name:      "recall",
	Usage:     "bring processes home, where they run natively again",
	ArgsUsage: "PID... | --all [--from NODE]",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "all processes that are away"},
		&cli.StringFlag{Name: "from", Usage: "with --all: only those on `NODE`"},
		strategyFlag, rateFlag, treeFlag, moveJSONFlag, stateFlag,
	},
	Action: func(c *cli.Context) error {
		all := c.Bool("all")
		switch {
		case all == c.Args().Present():
			return errors.New("recall: name processes, or give --all")
		case !all && c.String("from") != "":
			return errors.New("recall: --from NODE goes with --all; a PID is where it is")
		}
		var pids []int
		if !all {
			var err error
			if pids, err = pidArgs(c); err != nil {
				return err
			}
		}
		req, err := moveRequest(c, pids)
		if err != nil {
			return err
		}
		req.To, req.All, req.From = node.AtHome, all, c.String("from")
		return carryOut(c, func(ctx context.Context, dir string, progress func(node.MoveEvent)) (node.MoveResult, error) {
			if req.From != "" {
				if _, err := node.Lookup(dir, req.From); err != nil {
					return node.MoveResult{}, err
				}
			}
			return node.Move(ctx, dir, req, progress)
		})
	},
}
