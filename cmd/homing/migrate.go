package main

import (
	"context"
	"errors"

	"homing/node"

	"github.com/urfave/cli/v2"
)

var migrateCommand = &cli.Command{
	Name:      "migrate",
	Usage:     "move running processes to NODE, or home",
	ArgsUsage: "PID... --to NODE|home",
	Description: "Moves processes of `homing run` and `homing attach` while they run, and tells how long they stood still.\n" +
		"Exit status: 0 all moved, 1 something did not (each with its reason), 125 homing failed.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "go to `NODE`; home: this machine"},
		strategyFlag, rateFlag, treeFlag, moveJSONFlag, stateFlag,
	},
	Action: func(c *cli.Context) error {
		pids, err := pidArgs(c)
		if err != nil {
			return err
		}
		if c.String("to") == "" {
			return errors.New("migrate: say where to: --to NODE, or --to home")
		}
		req, err := moveRequest(c, pids)
		if err != nil {
			return err
		}
		return carryOut(c, func(ctx context.Context, dir string, progress func(node.MoveEvent)) (node.MoveResult, error) {
			return node.Move(ctx, dir, req, progress)
		})
	},
}
