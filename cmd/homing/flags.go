package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"homing/node"

	"github.com/urfave/cli/v2"
)

var (
	treeFlag     = &cli.BoolFlag{Name: "tree", Usage: "with all descendants"}
	moveJSONFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	strategyFlag = &cli.StringFlag{Name: "strategy", Value: "auto", Usage: "how the memory goes: `HOW` is auto, stop, pre, post or hybrid"}
	rateFlag     = &cli.StringFlag{Name: "rate", Usage: "send at most `BYTES` a second while the program runs: 50M"}
)

// movingCommands are those that name processes; their flags may stand behind.
var movingCommands = []*cli.Command{migrateCommand, recallCommand, attachCommand, detachCommand}

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
