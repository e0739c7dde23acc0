package main

import (
	"log/slog"
	"path/filepath"

	"homing/guest"
	"homing/kkc"
	"homing/node"
)

// guests adapts the guest package to what the daemon needs.
type guests struct{ host *guest.Host }

func (g guests) Serve(s *kkc.Session) { g.host.Serve(s) }

func (g guests) Stats() node.GuestStats {
	s := g.host.Stats()
	return node.GuestStats{Guests: s.Guests, CPUSeconds: s.CPUSeconds, Calls: s.Calls, CameHome: s.CameHome}
}

func newGuests(state string, log *slog.Logger) (node.GuestServer, error) {
	h, err := guest.NewHost(guest.HostConfig{CacheDir: filepath.Join(state, "cache"), Log: log})
	if err != nil {
		return nil, err
	}
	return guests{h}, nil
}
