package main

import (
	"context"
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

func (g guests) Present() (present []node.Guest) {
	for _, p := range g.host.Present() {
		present = append(present, node.Guest{PID: p.PID, Home: p.Home, Command: p.Command, CPUSeconds: p.CPUSeconds})
	}
	return present
}

func (g guests) Evict(ctx context.Context, progress func(string)) (node.Eviction, error) {
	r, err := g.host.Evict(ctx, progress)
	return node.Eviction{Guests: r.Guests, Stopped: r.Stopped, Gone: r.Gone, Left: r.Left}, err
}

func newGuests(state string, lending *node.Lending, peers *node.Peers, log *slog.Logger) (node.GuestServer, error) {
	h, err := guest.NewHost(guest.HostConfig{
		CacheDir: filepath.Join(state, "cache"), Log: log,
		Admit: lending.Admit, DialPeer: peers.Dial, Fingerprint: peers.Fingerprint(),
	})
	if err != nil {
		return nil, err
	}
	return guests{h}, nil
}
