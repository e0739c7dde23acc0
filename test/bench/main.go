// Command bench measures Homing on this machine: `make bench`.
//
//  1. Each figure stands beside its baseline from the same run. Both are measured
//     in turn (A B A B …), so that whatever else the machine does falls on both;
//     medians are compared. Nothing passes or fails by a time.
//  2. A suite is pinned to a number of processors. Waking a thread on another
//     processor can cost ten times what it costs on the same one, and which of
//     the two happens is the kernel's choice: with one processor the figures are
//     steady, with several they are what a user sees. For each number the
//     program starts itself again with its affinity set, which all that it
//     starts inherits.
//  3. Inside a suite a `homing lab` gives the node. What is timed inside a process
//     (programs/worker.c) runs as three processes that live as long as the suite,
//     native, at home and away, and times itself; commands and shells likewise.
//  4. The channel's baselines (kkc's lane echo, raw TLS, raw TCP) are served by a
//     further process of this executable: as in real life, waking the other end
//     is the kernel's matter and not that of one Go scheduler.
//
// A row that cannot be measured says why and does not keep the others from it;
// each step has a deadline, and what hangs is killed. docs/benchmarks.md tells
// what each row means.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// config is what a suite is run with; it is passed to the pinned child as flags.
type config struct {
	Homing  string // executable under test
	CPUs    string // numbers of processors, one suite each
	JSON    string // output file
	Only    string // regular expression of row names
	Quick   bool   // few rounds: for working on the benchmark itself
	ReadMiB int    // size of the file that is read
	MoveMiB int    // memory of the large program that moves
	Limit   time.Duration
	pinned  bool // this process is a suite
}

func main() {
	if kind := os.Getenv(serveEnv); kind != "" {
		if err := serve(kind); err != nil {
			fmt.Fprintln(os.Stderr, "bench: serve:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	c := config{Homing: os.Getenv("HOMING")}
	flag.StringVar(&c.Homing, "homing", c.Homing, "the homing executable (default $HOMING, or bin/homing)")
	flag.StringVar(&c.CPUs, "cpus", "1,2", "a suite on each of these numbers of processors")
	flag.StringVar(&c.JSON, "json", "bench.json", "write the figures to `FILE`")
	flag.StringVar(&c.Only, "only", "", "only rows whose name matches `REGEXP`")
	flag.BoolVar(&c.Quick, "quick", false, "few rounds: rough figures, soon")
	flag.IntVar(&c.ReadMiB, "read-mib", 1024, "size of the file that is read, in MiB")
	flag.IntVar(&c.MoveMiB, "move-mib", 1024, "memory of the large program that moves, in MiB")
	flag.DurationVar(&c.Limit, "limit", 20*time.Minute, "give up a suite after `TIME`")
	flag.BoolVar(&c.pinned, "suite", false, "be one suite: internal")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if c.Homing == "" {
		c.Homing = "bin/homing"
	}
	if _, err := regexp.Compile(c.Only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.pinned {
		return runSuite(ctx, c)
	}
	return runAll(ctx, c)
}

// runAll runs a pinned suite for each number of processors and writes the report.
func runAll(ctx context.Context, c config) error {
	counts, err := parseCounts(c.CPUs)
	if err != nil {
		return err
	}
	report := Report{Machine: describeMachine(c.Homing)}
	var failed []error
	for _, n := range counts {
		suite, err := startSuite(ctx, c, n)
		if err != nil {
			failed = append(failed, fmt.Errorf("suite on %d processors: %w", n, err))
			continue
		}
		report.Suites = append(report.Suites, *suite)
		suite.print(os.Stdout)
		for _, r := range suite.Rows {
			if r.Error != "" {
				failed = append(failed, fmt.Errorf("%s: %s", r.Name, r.Error))
			}
		}
	}
	if c.JSON != "" {
		b, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.JSON, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("write the figures: %w", err)
		}
	}
	return errors.Join(failed...)
}

// parseCounts reads the list of numbers of processors; those that this machine
// does not have are left out.
func parseCounts(list string) ([]int, error) {
	have, err := allowedCPUs()
	if err != nil {
		return nil, err
	}
	var out []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-cpus: %q is no number of processors", word)
		}
		if n > len(have) {
			fmt.Fprintf(os.Stderr, "bench: %d processors: only %d here, left out\n", n, len(have))
			continue
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		return nil, errors.New("-cpus: nothing left to measure")
	}
	return out, nil
}
