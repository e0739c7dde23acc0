package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"homing/node"
	"homing/shadow"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

var (
	treeFlag     = &cli.BoolFlag{Name: "tree", Usage: "with all descendants"}
	moveJSONFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	strategyFlag = &cli.StringFlag{Name: "strategy", Value: "auto", Usage: "how the memory goes: `HOW` is auto, stop, pre, post or hybrid"}
	rateFlag     = &cli.StringFlag{Name: "rate", Usage: "send at most `BYTES` a second while the program runs: 50M"}
)

// movingCommands are those that name processes; their flags may stand behind.
var movingCommands = []*cli.Command{migrateCommand, recallCommand, attachCommand, detachCommand}

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

var attachCommand = &cli.Command{
	Name:      "attach",
	Usage:     "adopt running programs that were not started by homing; --to moves them at once",
	ArgsUsage: "PID... [--to NODE]",
	Description: "The program notices nothing, and is not traced until it leaves. What it forks from now on belongs\n" +
		"to it; --tree adopts what it has forked already as well.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "go to `NODE` in the same breath"},
		strategyFlag, rateFlag, treeFlag, moveJSONFlag, stateFlag,
	},
	Action: func(c *cli.Context) error {
		pids, err := pidArgs(c)
		if err != nil {
			return err
		}
		req, err := moveRequest(c, nil)
		if err != nil {
			return err
		}
		return carryOut(c, func(ctx context.Context, dir string, progress func(node.MoveEvent)) (node.MoveResult, error) {
			res := node.MoveResult{}
			if req.To != "" && req.To != node.AtHome {
				if _, err := node.Lookup(dir, req.To); err != nil {
					return res, err
				}
			}
			for _, pid := range pids {
				err := adopt(dir, pid, c.Bool("tree"))
				switch {
				case err != nil:
					res.Failed = append(res.Failed, node.MoveFailure{PIDs: []int{pid}, Why: "not adopted: " + err.Error()})
				case req.To != "":
					req.PIDs = append(req.PIDs, pid)
				case !c.Bool("json"):
					fmt.Printf("%d: adopted; it goes on as before\n", pid)
				}
			}
			if len(req.PIDs) == 0 {
				return res, nil
			}
			moved, err := node.Move(ctx, dir, req, progress)
			for _, f := range moved.Failed {
				f.Why += " (adopted, but not moved)"
				res.Failed = append(res.Failed, f)
			}
			res.Moved = moved.Moved
			return res, err
		})
	},
}

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

// adopt attaches to one process.
func adopt(dir string, pid int, tree bool) error {
	procs, err := node.Jobs(dir)
	for _, p := range procs {
		if p.PID == pid {
			return fmt.Errorf("it belongs to a job of homing already (%d); `homing migrate %d --to NODE` moves it", p.Job, pid)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot tell whose it is: %w", err)
	}
	return shadow.Attach(shadow.Config{Attach: pid, Tree: tree, StateDir: dir, Version: version})
}

// pidArgs are the arguments as process numbers.
func pidArgs(c *cli.Context) ([]int, error) {
	name := c.Command.Name
	if !c.Args().Present() {
		return nil, fmt.Errorf("%s: name a process; `homing ps` shows those of homing", name)
	}
	var pids []int
	for _, arg := range c.Args().Slice() {
		pid, err := strconv.ParseInt(arg, 10, 32)
		if err != nil || pid < 1 {
			return nil, fmt.Errorf("%s: %q is not a process number", name, arg)
		}
		if !slices.Contains(pids, int(pid)) {
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}

// moveRequest is what the flags ask for.
func moveRequest(c *cli.Context, pids []int) (node.MoveRequest, error) {
	req := node.MoveRequest{PIDs: pids, Tree: c.Bool("tree"), To: c.String("to"), Strategy: c.String("strategy")}
	if !slices.Contains(node.Strategies, req.Strategy) {
		return req, fmt.Errorf("--strategy %s: there is %s", req.Strategy, strings.Join(node.Strategies, ", "))
	}
	if s := c.String("rate"); s != "" {
		var err error
		if req.Rate, err = parseBytes(s); err != nil {
			return req, fmt.Errorf("--rate %s: %w", s, err)
		}
	}
	return req, nil
}

// parseBytes reads a number of bytes: 1000000, 512K, 50M, 1.5G.
func parseBytes(s string) (int64, error) {
	digits, shift := s, 0
	for i, unit := range []string{"K", "M", "G", "T"} {
		if d, ok := strings.CutSuffix(strings.ToUpper(s), unit); ok {
			digits, shift = d, 10*(i+1)
		}
	}
	v, err := strconv.ParseFloat(digits, 64)
	v *= float64(int64(1) << shift)
	if err != nil || !(v >= 1 && v < 1<<62) {
		return 0, errors.New("write a number of bytes, such as 512K, 50M or 1.5G")
	}
	return int64(v), nil
}

// carryOut runs what a command does, shows how far it is, and prints what came
// of it. The first Ctrl-C has the move taken back, the second ends the command.
func carryOut(c *cli.Context, do func(context.Context, string, func(node.MoveEvent)) (node.MoveResult, error)) error {
	dir, err := node.StateDir(c.Path("state"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	defer stop()
	line := newProgress(os.Stderr)
	res, err := do(ctx, dir, line.show)
	line.clear()
	for i := range res.Failed {
		explain(&res.Failed[i])
	}
	if c.Bool("json") {
		if encErr := writeMovesJSON(os.Stdout, res); encErr != nil {
			return encErr
		}
	} else {
		for _, rep := range res.Moved {
			detached := c.Command.Name == "detach"
			if !detached || rep.From != rep.To {
				writeTimeline(os.Stdout, rep)
			}
			if detached {
				fmt.Printf("%s: an ordinary process again\n", joinPIDs(rep.PIDs))
			}
		}
	}
	for _, f := range res.Failed {
		fmt.Fprintf(os.Stderr, "homing: %s%s\n", subject(f.PIDs), strings.ReplaceAll(f.Why, "\n", "; "))
	}
	if err == nil && len(res.Failed) > 0 {
		return exitStatus(1)
	}
	return err
}

// explain says more of a process that no job has: why it cannot be adopted either.
func explain(f *node.MoveFailure) {
	if f.NotHeld {
		if err := shadow.Attachable(f.PIDs[0]); err != nil {
			f.Why = err.Error()
		}
	}
}

func subject(pids []int) string {
	if len(pids) == 0 {
		return ""
	}
	return joinPIDs(pids) + ": "
}

func joinPIDs(pids []int) string {
	var words []string
	for _, pid := range pids {
		words = append(words, strconv.Itoa(pid))
	}
	return strings.Join(words, " ")
}

func writeMovesJSON(f *os.File, res node.MoveResult) error {
	if res.Moved == nil {
		res.Moved = []node.MoveReport{}
	}
	if res.Failed == nil {
		res.Failed = []node.MoveFailure{}
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}

// flagsFirst puts the flags of a moving command in front of its process
// numbers, where the parser wants them: homing migrate 123 --to n1.
func flagsFirst(args []string) []string {
	if len(args) < 3 {
		return args
	}
	i := slices.IndexFunc(movingCommands, func(c *cli.Command) bool { return c.Name == args[1] })
	if i < 0 {
		return args
	}
	flags, rest := slices.Clone(args[:2]), []string{}
	for i, in := 2, movingCommands[i]; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case len(arg) < 2 || arg[0] != '-':
			rest = append(rest, arg)
		default:
			flags = append(flags, arg)
			if takesValue(in, arg) {
				if i++; i == len(args) {
					return flags // the parser says what is missing
				}
				flags = append(flags, args[i])
			}
		}
	}
	return append(append(flags, "--"), rest...)
}

// takesValue tells whether the word behind a flag belongs to it.
func takesValue(c *cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), name) {
			_, simple := f.(*cli.BoolFlag)
			return !simple
		}
	}
	return false
}
