package main

import (
	"context"

	"homing/node"

	"github.com/urfave/cli/v2"
)

var detachCommand = &cli.Command{
	Name:      "detach",
	Usage:     "bring processes home and let go of them: ordinary processes again",
	ArgsUsage: "PID...",
	Flags:     []cli.Flag{treeFlag, moveJSONFlag, stateFlag},
	Action: func(c *cli.Context) error {
		pids, err := pidArgs(c)
		if err != nil {
			return err
		}
		return carryOut(c, func(ctx context.Context, dir string, progress func(node.MoveEvent)) (node.MoveResult, error) {
			return node.Detach(ctx, dir, pids, c.Bool("tree"), progress)
		})
	},
}
