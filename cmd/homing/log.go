package main

import (
	"log/slog"
	"os"
)

// newLogger writes to standard error; HOMING_LOG=debug says more.
func newLogger() *slog.Logger {
	level := slog.LevelInfo
	if s := os.Getenv("HOMING_LOG"); s != "" {
		_ = level.UnmarshalText([]byte(s)) // a word it does not know changes nothing
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
