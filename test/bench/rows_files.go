package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// readFile: a file at home, read away by 1 MiB, beside the same number of bytes
// from another process's memory over raw TLS and TCP.
func (b *bench) readFile(ctx context.Context, r *Row) error {
	size := int64(b.ReadMiB) * mib
	path, err := b.bigFile(size)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	arms := []arm{b.asking("away", b.away, 1e6, 1, fmt.Sprintf("read %d %d %s", mib, size, path))}
	for _, kind := range []string{"tls", "tcp"} {
		once, stop, err := stream(kind, size)
		if err != nil {
			return fmt.Errorf("raw %s: %w", kind, err)
		}
		defer stop()
		arms = append(arms, arm{"raw " + kind, func(ctx context.Context) (float64, error) {
			ctx, cancel := context.WithTimeout(ctx, stepLimit)
			defer cancel()
			return once(ctx)
		}})
	}
	arms = append(arms, b.asking("native", b.native, 1e6, 1, fmt.Sprintf("read %d %d %s", mib, size, path)))
	stats, err := interleave(ctx, b.rounds(5), arms...)
	if err != nil {
		return err
	}
	r.Figure, r.Baseline, r.Others = stats[0], stats[1], stats[2:]
	r.compare(speed, 0.7)
	rate := func(s Stat) float64 { return float64(size) / s.Median / 1e6 }
	r.Notes = fmt.Sprintf("%d MiB: %.2f GB/s away, %.2f over TLS", b.ReadMiB, rate(r.Figure), rate(r.Baseline))
	return nil
}

// bigFile writes the file, which the page cache then has.
func (b *bench) bigFile(size int64) (string, error) {
	path := filepath.Join(b.dir, "big")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, mib)
	for i := range buf {
		buf[i] = byte(i * 31)
	}
	for at := int64(0); at < size; at += mib {
		if _, err := f.Write(buf[:min(mib, size-at)]); err != nil {
			return "", fmt.Errorf("a file of %d MiB to read (less with -read-mib): %w", size/mib, err)
		}
	}
	return path, nil
}
