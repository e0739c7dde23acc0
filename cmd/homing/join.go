package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"homing/node"

	"github.com/urfave/cli/v2"
)

// joinLimit is how long a node may take to answer.
const joinLimit = 15 * time.Second

var joinCommand = &cli.Command{
	Name:      "join",
	Usage:     "remember and trust the node whose owner gave you TOKEN",
	ArgsUsage: "TOKEN",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "call it `NAME` here (default: its own name)"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return errors.New("join: give one token, as `homing node token` printed it on the node")
		}
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context, joinLimit)
		defer cancel()
		known, err := node.Join(ctx, dir, c.Args().First(), c.String("name"), version)
		if err != nil {
			return fmt.Errorf("join: %w", err)
		}
		fmt.Printf("joined %s at %s; try: homing run --on %s -- uname -a\n", known.Name, known.Addr, known.Name)
		return nil
	},
}
