package main

import (
	"errors"
	"path/filepath"

	"homing/node"
	"homing/shadow"

	"github.com/urfave/cli/v2"
)

var runCommand = &cli.Command{
	Name:      "run",
	Usage:     "run PROG: on another node with --on, else here, to be moved later",
	ArgsUsage: "-- PROG ARGS...",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "on", Usage: "let it compute on `NODE`"},
		&cli.PathFlag{Name: "trace", Usage: "write each call served at home to `FILE`"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		if !c.Args().Present() {
			return errors.New("run: which program? homing run [--on NODE] -- PROG ARGS")
		}
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		cfg := shadow.Config{Argv: c.Args().Slice(), StateDir: dir, Version: version}
		if on := c.String("on"); on != "" {
			known, err := node.Lookup(dir, on)
			if err != nil {
				return err
			}
			cfg.Node, cfg.Addr, cfg.Pin = known.Name, known.Addr, known.Fingerprint
		}
		if trace := c.Path("trace"); trace != "" {
			if cfg.Trace, err = filepath.Abs(trace); err != nil {
				return err
			}
		}
		return shadow.Run(cfg)
	},
}

var superviseCommand = &cli.Command{
	Name:   "supervise",
	Hidden: true,
	Action: func(*cli.Context) error { return shadow.Supervise() },
}
