package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const trueProgram = "/bin/true"

// runTrue: a whole job, from the start of `homing run` to its end.
func (b *bench) runTrue(ctx context.Context, r *Row) error {
	stats, err := interleave(ctx, b.rounds(40),
		b.command("run --on", b.env, b.Homing, "run", "--on", "n1", "--", trueProgram),
		b.command("run at home", b.env, b.Homing, "run", "--", trueProgram),
		b.command("native", b.env, trueProgram))
	if err != nil {
		return err
	}
	r.Figure, r.Baseline, r.Others = stats[0], stats[1], stats[2:]
	r.compare(difference, 8)
	return nil
}

// leave: a program without a libc which executes itself again and again. Away,
// each time is one forwarded execve, the same at home as natively, and leaving:
// capture, emptying the shadow, the new body and its restoring.
func (b *bench) leave(ctx context.Context, r *Row) error {
	const n = 50
	chain := func(name string, prefix ...string) arm {
		argv := append(prefix, b.execs, strconv.Itoa(n), "0", b.execs)
		return arm{name, func(ctx context.Context) (float64, error) {
			ctx, cancel := context.WithTimeout(ctx, stepLimit)
			defer cancel()
			out, _, err := runCommand(ctx, b.env, argv...)
			if err != nil {
				return 0, err
			}
			ns, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
			if err != nil {
				return 0, fmt.Errorf("it said %q", out)
			}
			return ns / n / 1e6, nil
		}}
	}
	stats, err := interleave(ctx, b.rounds(20), chain("away", b.Homing, "run", "--on", "n1", "--"), chain("native"))
	if err != nil {
		return err
	}
	r.Figure, r.Baseline = stats[0], stats[1]
	r.Notes = "the difference contains one forwarded call"
	r.compare(difference, 1.5)
	return nil
}

// spawnLoop is a shell that runs a program as often as it is told.
const spawnLoop = `while read n; do i=0; while [ $i -lt $n ]; do ` + trueProgram + `; i=$((i+1)); done; echo $n; done`

// spawn: fork, exec and wait of a program in a shell's loop.
func (b *bench) spawn(ctx context.Context, r *Row) error {
	const n = 20
	var arms []arm
	for _, p := range []struct {
		name   string
		prefix []string
	}{
		{"away", []string{b.Homing, "run", "--on", "n1", "--"}},
		{"native", nil},
		{"at home", []string{b.Homing, "run", "--"}},
	} {
		t, err := startTalker(p.name, b.env, append(p.prefix, "/bin/sh", "-c", spawnLoop)...)
		if err != nil {
			return err
		}
		defer t.stop()
		arms = append(arms, timed(t, strconv.Itoa(n), n))
	}
	stats, err := interleave(ctx, b.rounds(15), arms...)
	if err != nil {
		return err
	}
	r.Figure, r.Baseline, r.Others = stats[0], stats[1], stats[2:]
	r.compare(ratio, 0)
	aim := prototypeSpawn[b.CPUs]
	if aim != 0 {
		met := r.Figure.Median < aim
		r.Aim, r.Met = fmt.Sprintf("< %g ms away", aim), &met
	}
	return nil
}

// timed is an arm that asks a process to do something n times: milliseconds each,
// by our own clock.
func timed(t *talker, question string, n int) arm {
	return arm{t.what, func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, stepLimit)
		defer cancel()
		start := time.Now()
		_, err := t.ask(ctx, question)
		return float64(time.Since(start).Nanoseconds()) / float64(n) / 1e6, err
	}}
}

// prototypeSpawn is what a prototype needed, by the number of processors.
var prototypeSpawn = map[string]float64{"1": 2.8, "2": 4.8}
