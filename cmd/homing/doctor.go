package main

import (
	"os"

	"homing/internal/doctor"

	"github.com/urfave/cli/v2"
)

var doctorCommand = &cli.Command{
	Name:  "doctor",
	Usage: "try what this machine's kernel allows for lending and for running, and say how to get what is missing",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		rep := doctor.Examine(c.Context)
		show := rep.WriteText
		if c.Bool("json") {
			show = rep.WriteJSON
		}
		if err := show(os.Stdout); err != nil {
			return err
		}
		if !rep.CanLend || !rep.CanRun {
			return exitStatus(1)
		}
		return nil
	},
}
