package main

import (
	"fmt"

	"homing/internal/lab"
	"homing/node"

	"github.com/urfave/cli/v2"
)

var labCommand = &cli.Command{
	Name:      "lab",
	Usage:     "run CMD with N throw-away nodes n1, n2, … on this machine, isolated from each other and from home",
	ArgsUsage: "-- CMD ARGS...",
	Flags: []cli.Flag{
		&cli.IntFlag{Name: "nodes", Value: 1, Usage: "start `N` nodes"},
		&cli.DurationFlag{Name: "delay", Usage: "delay between home and each node, and between nodes, one way: 200us, 20ms"},
		&cli.StringFlag{Name: "direct", Usage: "connections between nodes: yes, no, or `BYTES` after which each is cut (default: yes)"},
		&cli.PathFlag{Name: "report", Usage: "write what each node did to `FILE` as JSON"},
		&cli.PathFlag{Name: "log", Usage: "append the nodes' logs to `FILE`"},
	},
	Action: func(c *cli.Context) error {
		status, err := lab.Run(c.Context, lab.Config{
			Nodes:   c.Int("nodes"),
			Delay:   c.Duration("delay"),
			Direct:  c.String("direct"),
			Report:  c.Path("report"),
			Log:     c.Path("log"),
			Command: c.Args().Slice(),
			Trust:   node.Introduce,
		})
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		if status != 0 {
			return exitStatus(status)
		}
		return nil
	},
}

var labNodeCommand = &cli.Command{
	Name:            lab.NodeCommand,
	Hidden:          true,
	SkipFlagParsing: true,
	Action:          func(c *cli.Context) error { return lab.NodeMain(c.Args().Slice()) },
}
