package main

import (
	"context"
	"fmt"
)

// pipeRoundTrip is what two native processes need to wake each other: it rules
// the figures of everything that goes from process to process.
func (b *bench) pipeRoundTrip(ctx context.Context) (float64, error) {
	const n = 2000
	stats, err := interleave(ctx, b.rounds(10), b.asking("pipe", b.native, 1e3, n, fmt.Sprintf("ping-pong %d", n)))
	if err != nil {
		return 0, err
	}
	return stats[0].Median, nil
}

// forwarded: a call that home executes, beside the echo of the same bytes on a
// lane between two processes that have nothing else to do.
func (b *bench) forwarded(ctx context.Context, r *Row) error {
	const n = 1000
	echo, stop, err := laneEcho(ctx, n)
	if err != nil {
		return fmt.Errorf("echo on a lane: %w", err)
	}
	defer stop()
	question := fmt.Sprintf("getppid %d", n)
	stats, err := interleave(ctx, b.rounds(25),
		b.asking("away", b.away, 1e3, n, question),
		arm{"lane echo", func(ctx context.Context) (float64, error) {
			ctx, cancel := context.WithTimeout(ctx, stepLimit)
			defer cancel()
			ns, err := echo(ctx)
			return ns / 1e3, err
		}},
		b.asking("native", b.native, 1e3, n, question))
	if err != nil {
		return err
	}
	r.Figure, r.Baseline, r.Others = stats[0], stats[1], stats[2:]
	r.compare(ratio, 1.5)
	return nil
}

// local: calls that the guest's own kernel serves.
func local(call string, n, size int, aim float64) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		question := fmt.Sprintf("%s %d %d", call, n, size)
		stats, err := interleave(ctx, b.rounds(25),
			b.asking("away", b.away, 1, n, question),
			b.asking("native", b.native, 1, n, question))
		if err != nil {
			return err
		}
		r.Figure, r.Baseline = stats[0], stats[1]
		r.compare(ratio, aim)
		return nil
	}
}

// loop: computing, in slices short enough to be compared in turn.
func loop(kind string, n int) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		question := fmt.Sprintf("%s %d", kind, n)
		stats, err := interleave(ctx, b.rounds(25),
			b.asking("away", b.away, 1e6, 1, question),
			b.asking("native", b.native, 1e6, 1, question))
		if err != nil {
			return err
		}
		r.Figure, r.Baseline = stats[0], stats[1]
		r.compare(speed, 0.99)
		return nil
	}
}
