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
	Usage:     "run PROG on another node, or here",
	ArgsUsage: "-- PROG ARGS...",
	Description: "The program keeps this machine's files, sockets, pids, signals and terminal wherever it computes.\n" +
		"Its exit status is returned; 125 means that homing failed, 126 that PROG cannot be executed, 127 that there is none.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "on", Usage: "compute on `NODE`, as homing join or homing lab named it (default: here)"},
		&cli.PathFlag{Name: "trace", Usage: "with --on: log each call to `FILE`: what, where it ran, how long"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		if !c.Args().Present() {
			return errors.New("run: no program given; write: homing run --on NODE -- PROG ARGS")
		}
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		cfg := shadow.Config{Argv: c.Args().Slice(), StateDir: dir, Version: version}
		if trace := c.Path("trace"); trace != "" {
			if cfg.Trace, err = filepath.Abs(trace); err != nil {
				return err
			}
		}
		if name := c.String("on"); name != "" {
			if _, err := node.Lookup(dir, name); err != nil {
				return err
			}
			cfg.Node = name
		}
		return shadow.Run(cfg) // on success it does not return: this process is PROG
	},
}

var superviseCommand = &cli.Command{
	Name:            "supervise",
	Usage:           "watch over the program that homing run has started",
	Hidden:          true,
	SkipFlagParsing: true,
	Action:          func(*cli.Context) error { return shadow.Supervise() },
}
