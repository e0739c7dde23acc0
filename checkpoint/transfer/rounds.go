package transfer

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"homing/checkpoint"
)

// Aim is what pre-copy works towards, and its limits. Zero values are replaced
// by those of DefaultAim.
type Aim struct {
	Freeze time.Duration // for which the rest may be sent while the process is stopped
	Rounds int           // at most
	Factor float64       // times the process's memory that may be sent at most
}

// DefaultAim is what a program that serves others hardly notices.
var DefaultAim = Aim{Freeze: 20 * time.Millisecond, Rounds: 12, Factor: 4}

func (a Aim) orDefault() Aim {
	if a.Freeze == 0 {
		a.Freeze = DefaultAim.Freeze
	}
	if a.Rounds == 0 {
		a.Rounds = DefaultAim.Rounds
	}
	if a.Factor == 0 {
		a.Factor = DefaultAim.Factor
	}
	return a
}

// Outcome is where pre-copy has got to.
type Outcome struct {
	Rounds    []Round
	Rest      uint64  // bytes that were written since they were sent
	Bandwidth float64 // bytes of memory a second
	DirtyRate float64 // bytes a second, of different pages, in the last round
	Converged bool    // the rest can be sent within the aim
	Why       string  // if not
}

// Precopy sends the memory of a running process in rounds. layout describes its
// mappings as they are now: for the destination's Body.Layout, and as an image of
// which only VMAs and Files matter. The caller goes on with Final whether the
// rounds have converged or not.
func (s *Source) Precopy(ctx context.Context, t *Tracker, layout func() ([]byte, *checkpoint.Image, error), aim Aim) (Outcome, error) {
	aim = aim.orDefault()
	var out Outcome
	var known []byte
	var first, spent uint64
	for {
		described, im, err := layout()
		if err != nil {
			return out, err
		}
		dirty, n, err := t.Dirty()
		if err != nil {
			return out, err
		}
		if first == 0 {
			first = n
		}
		here := mapped(im, func(v *checkpoint.VMA) bool { return !v.Shared })
		s.sent = subtract(s.sent, dirty)
		p := plan{pages: intersect(dirty, here), kept: s.sent, hugeable: hugeable(im), running: true}
		if known == nil || !bytes.Equal(described, known) {
			known, p.layout = described, described
		}
		r, _, err := s.send(ctx, p)
		if err != nil {
			return out, err
		}
		out.Rounds = append(out.Rounds, r)
		spent += r.Pages * pageSize
		before := n
		if out.Rest, err = t.Rest(); err != nil {
			return out, err
		}
		out.Bandwidth = s.bandwidth
		out.DirtyRate = float64(out.Rest) / max(r.Duration.Seconds(), 1e-3)
		switch {
		case s.bandwidth == 0 && out.Rest < 4<<20, float64(out.Rest) <= s.bandwidth*aim.Freeze.Seconds():
			out.Converged = true
		case float64(out.Rest) > 0.75*float64(before):
			out.Why = fmt.Sprintf("it writes memory as fast as it can be sent (%.0f MB/s)", s.bandwidth/1e6)
		case len(out.Rounds) >= aim.Rounds:
			out.Why = fmt.Sprintf("%d MB are still different after %d rounds", out.Rest/1e6, len(out.Rounds))
		case float64(spent)+float64(out.Rest) > aim.Factor*float64(max(first, 64<<20)):
			out.Why = fmt.Sprintf("%d MB have been sent of a process of %d", spent/1e6, first/1e6)
		default:
			continue
		}
		return out, nil
	}
}

// Strategy is how memory is moved.
type Strategy string

// The strategies. AutoStrategy lets Choose decide.
const (
	AutoStrategy Strategy = ""
	Stop         Strategy = "stop"
	Pre          Strategy = "pre"
	Post         Strategy = "post"
	Hybrid       Strategy = "hybrid"
)

// Conditions are what a strategy depends on.
type Conditions struct {
	Bytes     uint64        // of memory to be moved
	Bandwidth float64       // bytes a second, 0: not known
	DirtyRate float64       // bytes a second, 0: not known
	Freeze    time.Duration // aim, 0: DefaultAim's
	Track     error         // why the source cannot do pre-copy, nil: it can
	Fault     error         // why the destination cannot do post-copy, nil: it can
}

// unknownBandwidth is what a network has at least that one moves processes over.
const unknownBandwidth = 100e6

// Choose returns the strategy to use for the one that is wanted, and why it is
// another, "" if it is not.
func Choose(want Strategy, c Conditions) (Strategy, string) {
	because := func(errs ...error) string {
		for _, err := range errs {
			if err != nil {
				return err.Error()
			}
		}
		return ""
	}
	switch want {
	case Stop:
		return Stop, ""
	case Pre:
		if c.Track != nil {
			return Stop, because(c.Track)
		}
		return Pre, ""
	case Post, Hybrid:
		switch {
		case c.Fault != nil && c.Track != nil:
			return Stop, because(c.Fault)
		case c.Fault != nil:
			return Pre, because(c.Fault)
		case want == Hybrid && c.Track != nil:
			return Post, because(c.Track)
		}
		return want, ""
	}
	bandwidth := c.Bandwidth
	if bandwidth <= 0 {
		bandwidth = unknownBandwidth
	}
	freeze := c.Freeze
	if freeze <= 0 {
		freeze = DefaultAim.Freeze
	}
	switch {
	case float64(c.Bytes) <= bandwidth*freeze.Seconds():
		return Stop, ""
	case c.Track == nil && c.DirtyRate < bandwidth/2:
		return Pre, "" // each round is at most half the one before
	case c.Fault == nil && c.Track == nil:
		return Hybrid, ""
	case c.Fault == nil:
		return Post, ""
	case c.Track == nil:
		return Pre, "" // the first round shows whether it helps
	}
	return Stop, because(c.Track, c.Fault)
}

// Lazy tells whether what pre-copy has left over should be asked for (Final with
// Lazy) rather than sent while the process is stopped.
func (o Outcome) Lazy(want Strategy, c Conditions) bool {
	switch {
	case c.Fault != nil || want == Pre || want == Stop:
		return false
	case want == Hybrid || want == Post:
		return o.Rest > 0
	}
	return !o.Converged
}
