package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"homing/node"

	"github.com/urfave/cli/v2"
)

var psCommand = &cli.Command{
	Name:  "ps",
	Usage: "show my jobs: where each process runs and what it costs",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		dir, err := node.StateDir(c.Path("state"))
		if err != nil {
			return err
		}
		procs, err := node.Jobs(dir) // what is known is shown in any case
		if c.Bool("json") {
			if procs == nil {
				procs = []node.Process{}
			}
			enc := json.NewEncoder(os.Stdout)
			enc.SetIndent("", "  ")
			if encErr := enc.Encode(procs); encErr != nil {
				return encErr
			}
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "PID\tNODE\tWHERE\tMOVES\tCPU\tCALLS\tCOMMAND\tNOTE")
		for _, p := range procs {
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%.2f\t%d\t%.60s\t%s\n", p.PID, dash(p.Node), p.Where, p.Moves, p.CPUSeconds, p.Calls, p.Command, note(p))
		}
		if flushErr := w.Flush(); flushErr != nil {
			return flushErr
		}
		return err
	},
}

// note says why a process came home, and whether it was adopted.
func note(p node.Process) string {
	var words []string
	if p.Attached {
		words = append(words, "attached")
	}
	if p.CameHome != "" {
		words = append(words, "came home: "+p.CameHome)
	}
	return strings.Join(words, ", ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
