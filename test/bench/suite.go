package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// stepLimit is how long one measurement may take; all are far shorter.
const stepLimit = 2 * time.Minute

//go:embed programs/worker.c
var workerSource string

//go:embed programs/execs.c
var execsSource string

//go:embed programs/pacer.c
var pacerSource string

// bench is one suite at work.
type bench struct {
	config
	dir           string
	worker, execs string   // compiled programs
	pacer         string   // likewise, if it was needed
	env           []string // for commands that are to find the lab's nodes

	lab                *talker
	native, home, away *talker // the worker in three places
	tours              map[touring]moves
}

// measure fills in a row.
type measure func(b *bench, ctx context.Context, r *Row) error

// rows are what is measured, in the order of the table.
var rows = []struct {
	name, unit string
	measure    measure
}{
	{"forwarded getppid", "µs", (*bench).forwarded},
	{"local getpid", "ns", local("getpid", 300_000, 0, 1.3)},
	{"mmap+touch+munmap 4 KiB", "ns", local("mmap", 10_000, 4096, 1.05)},
	{"mmap+touch+munmap 256 KiB", "ns", local("mmap", 1_000, 256<<10, 1.05)},
	{"cpu-bound loop", "ms", loop("cpu", 40_000_000)},
	{"memory-bound loop", "ms", loop("memory", 3_000_000)},
	{"run --on of /bin/true", "ms", (*bench).runTrue},
	{"execve of a tiny program", "ms", (*bench).leave},
	{"fork+exec+wait in a shell", "ms", (*bench).spawn},
	{"read a file by 1 MiB", "ms", (*bench).readFile},
	{"make -j2 at home", "ms", (*bench).makeAtHome},
	{"make -j2 away, no delay", "ms", makeAway(0)},
	{"make -j2 away, 200 µs", "ms", makeAway(200 * time.Microsecond)},
	{"freeze 1M home→n1", "ms", freezeSmall(legs[0])},
	{"freeze 1M n1→n2", "ms", freezeSmall(legs[1])},
	{"freeze 1M n2→home", "ms", freezeSmall(legs[2])},
	{"freeze 1G 4K pre home→n1", "ms", freezeLarge("small", "pre", legs[0], 15)},
	{"freeze 1G 4K post home→n1", "ms", freezeLarge("small", "post", legs[0], 5)},
	{"freeze 1G 4K hybrid home→n1", "ms", freezeLarge("small", "hybrid", legs[0], 5)},
	{"freeze 1G 4K pre n1→n2", "ms", freezeLarge("small", "pre", legs[1], 15)},
	{"freeze 1G 4K post n1→n2", "ms", freezeLarge("small", "post", legs[1], 5)},
	{"freeze 1G 4K hybrid n1→n2", "ms", freezeLarge("small", "hybrid", legs[1], 5)},
	{"freeze 1G 2M pre home→n1", "ms", freezeLarge("huge", "pre", legs[0], 15)},
	{"freeze 1G 2M post home→n1", "ms", freezeLarge("huge", "post", legs[0], 5)},
	{"freeze 1G 2M hybrid home→n1", "ms", freezeLarge("huge", "hybrid", legs[0], 5)},
	{"freeze 1G 2M pre n1→n2", "ms", freezeLarge("huge", "pre", legs[1], 15)},
	{"freeze 1G 2M post n1→n2", "ms", freezeLarge("huge", "post", legs[1], 5)},
	{"freeze 1G 2M hybrid n1→n2", "ms", freezeLarge("huge", "hybrid", legs[1], 5)},
	{"stop 1G, total home→n1", "ms", transferTotal(legs[0])},
	{"stop 1G, total n1→n2", "ms", transferTotal(legs[1])},
	{"stop 1G, total n2→home", "ms", transferTotal(legs[2])},
	{"post 1G to speed home→n1", "ms", recovery(legs[0])},
	{"post 1G to speed n1→n2", "ms", recovery(legs[1])},
	{"getppid beside a move", "µs", (*bench).besideMove},
	{"forwarded getppid, moved", "µs", (*bench).forwardedMoved},
	{"cpu-bound loop, returned", "ms", returned(1e6, 1, 40, "cpu 40000000", 0.999)},
	{"system calls, returned", "ns", returned(1, 300_000, 25, "getppid 300000", 0.99)},
}

// runSuite measures all rows and writes the suite as JSON to standard output.
func runSuite(ctx context.Context, c config) error {
	start := time.Now()
	s := Suite{LoadBefore: load()}
	var err error
	if s.CPUs, err = strconv.Atoi(c.CPUs); err != nil {
		return fmt.Errorf("-cpus: %w", err)
	}
	b := &bench{config: c}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return err
	}
	if s.RoundTripUS, err = b.pipeRoundTrip(ctx); err != nil {
		return err
	}
	only := regexp.MustCompile(c.Only)
	for _, r := range rows {
		if !only.MatchString(r.name) {
			continue
		}
		row := Row{Name: r.name, Unit: r.unit}
		from := time.Now()
		err := ctx.Err()
		if err == nil && b.lab == nil {
			err = b.start(ctx)
		}
		if err == nil {
			err = r.measure(b, ctx, &row)
		}
		if err != nil {
			row = Row{Name: r.name, Unit: r.unit, Error: err.Error()}
			b.stop() // what may be left hanging; the next row starts anew
		}
		s.Rows = append(s.Rows, row)
		fmt.Fprintf(os.Stderr, "bench: %d processor(s): %s: %s (%.0f s)\n", s.CPUs, r.name, row.brief(), time.Since(from).Seconds())
	}
	s.Seconds = time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(s)
}

func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return 0
	}
	return v
}

// open builds the programs and starts the lab and the workers.
func (b *bench) open(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "homing-bench-"); err != nil {
		return err
	}
	// A copy: all figures are those of one executable, whoever rebuilds it meanwhile.
	data, err := os.ReadFile(b.Homing)
	if err != nil {
		return fmt.Errorf("the homing executable: %w; build it with make, or name it with -homing", err)
	}
	b.Homing = filepath.Join(b.dir, "homing")
	if err := os.WriteFile(b.Homing, data, 0o755); err != nil {
		return err
	}
	if b.worker, err = b.compile(ctx, "worker", workerSource, "-O2"); err != nil {
		return err
	}
	if b.execs, err = b.compile(ctx, "execs", execsSource, "-O2", "-static", "-nostdlib", "-nostartfiles", "-fno-stack-protector"); err != nil {
		return err
	}
	return b.start(ctx)
}

func (b *bench) compile(ctx context.Context, name, source string, flags ...string) (string, error) {
	src := filepath.Join(b.dir, name+".c")
	if err := os.WriteFile(src, []byte(source), 0o644); err != nil {
		return "", err
	}
	out := filepath.Join(b.dir, name)
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if text, err := exec.CommandContext(ctx, "gcc", append(flags, "-o", out, src)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w\n%s", name, err, text)
	}
	return out, nil
}

func (b *bench) start(ctx context.Context) error {
	var err error
	if b.lab, b.env, err = startLab(ctx, b.Homing); err != nil {
		return err
	}
	for _, w := range []struct {
		what string
		to   **talker
		argv []string
	}{
		{"native", &b.native, []string{b.worker}},
		{"at home", &b.home, []string{b.Homing, "run", "--", b.worker}},
		{"away", &b.away, []string{b.Homing, "run", "--on", "n1", "--", b.worker}},
	} {
		if *w.to, err = startTalker(w.what, b.env, w.argv...); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the workers and the lab.
func (b *bench) stop() {
	for _, t := range []**talker{&b.away, &b.home, &b.native, &b.lab} {
		if *t != nil {
			(*t).stop()
			*t = nil
		}
	}
}

func (b *bench) close() {
	b.stop()
	if b.dir != "" {
		if err := os.RemoveAll(b.dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench: clean up:", err)
		}
	}
}

// rounds is how often each arm is measured; quick makes it few.
func (b *bench) rounds(n int) int {
	if b.Quick {
		return max(3, n/5)
	}
	return n
}

// asking is an arm that asks a worker to do something n times: nanoseconds each,
// divided by unit.
func (b *bench) asking(name string, t *talker, unit float64, n int, question string) arm {
	return arm{name, func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, stepLimit)
		defer cancel()
		ns, err := t.nanoseconds(ctx, question)
		return ns / float64(n) / unit, err
	}}
}

// command is an arm that runs a command: milliseconds.
func (b *bench) command(name string, env []string, argv ...string) arm {
	return arm{name, func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, stepLimit)
		defer cancel()
		_, took, err := runCommand(ctx, env, argv...)
		return took.wall, err
	}}
}
