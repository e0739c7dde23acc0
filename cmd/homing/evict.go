package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"homing/internal/lab"
	"homing/node"

	"github.com/urfave/cli/v2"
)

var evictCommand = &cli.Command{
	Name:      "evict",
	Usage:     "on a node, by its owner: stop all guests and send them home, and take no others for a while",
	ArgsUsage: "[NODE]",
	Description: "Programs that are sent home go on there; nothing is lost. Says when the machine is free.\n" +
		"NODE names one of a lab's nodes, from within the lab; else it is the node of the state directory.",
	Flags: []cli.Flag{
		&cli.DurationFlag{Name: "for", Value: 10 * time.Minute, Usage: "take no guests for `TIME`"},
		&cli.BoolFlag{Name: "resume", Usage: "evict nobody: take guests again, now"},
		stateFlag,
	},
	Action: func(c *cli.Context) error {
		dir, err := nodeState(c)
		if err != nil {
			return err
		}
		if c.Bool("resume") {
			if err := node.Control(c.Context, dir, node.ControlRequest{Op: "resume"}, func(node.ControlReply) {}); err != nil {
				return err
			}
			fmt.Println("taking guests again")
			return nil
		}
		var ev *node.Eviction
		err = node.Control(c.Context, dir, node.ControlRequest{Op: "evict", For: c.Duration("for")}, func(r node.ControlReply) {
			if r.Progress != "" {
				fmt.Fprintln(os.Stderr, r.Progress)
			}
			if r.Evicted != nil {
				ev = r.Evicted
			}
		})
		if err != nil || ev == nil {
			return err
		}
		return showEviction(ev)
	},
}

func showEviction(ev *node.Eviction) error {
	for _, l := range ev.Left {
		fmt.Fprintln(os.Stderr, "still here:", l)
	}
	short := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	fmt.Printf("%d guests: stopped after %v, gone after %v\n", ev.Guests, short(ev.Stopped), short(ev.Gone))
	if len(ev.Left) > 0 {
		return fmt.Errorf("%d guests could not go home", len(ev.Left))
	}
	fmt.Printf("%s is free", ev.Name)
	if time.Until(ev.Until) > 0 {
		fmt.Printf(", and takes no guests until %s (sooner: homing evict --resume)", ev.Until.Local().Format("15:04"))
	}
	fmt.Println()
	return nil
}

// nodeState is the state directory of the node that is meant.
func nodeState(c *cli.Context) (string, error) {
	switch c.NArg() {
	case 0:
		return node.StateDir(c.Path("state"))
	case 1:
		dir := os.Getenv(lab.DirVariable)
		if dir == "" {
			return "", fmt.Errorf("%s: node names are for use in a lab (homing lab); here give the node's --state DIR, or nothing", c.Command.Name)
		}
		return filepath.Join(dir, filepath.Base(c.Args().First())), nil
	}
	return "", errors.New("name one node at most; see homing " + c.Command.Name + " --help")
}

var nodeStatusCommand = &cli.Command{
	Name:      "status",
	Usage:     "show the guests that are on this node",
	ArgsUsage: "[NODE]",
	Flags:     []cli.Flag{stateFlag},
	Action: func(c *cli.Context) error {
		dir, err := nodeState(c)
		if err != nil {
			return err
		}
		return node.Control(c.Context, dir, node.ControlRequest{Op: "status"}, func(r node.ControlReply) {
			if r.Status != nil {
				showStatus(r.Status)
			}
		})
	},
}

func showStatus(s *node.Status) {
	fmt.Printf("node %s at %s: %d guests", s.Name, s.Addr, len(s.Guests))
	if !s.Until.IsZero() {
		fmt.Printf("; takes none until %s (sooner: homing evict --resume)", s.Until.Local().Format("15:04"))
	}
	fmt.Println()
	if len(s.Guests) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tHOME\tCPU\tCOMMAND")
	for _, g := range s.Guests {
		fmt.Fprintf(w, "%d\t%s\t%.2f\t%.60s\n", g.PID, g.Home, g.CPUSeconds, g.Command)
	}
	_ = w.Flush() // standard output is gone: nothing to show
}
