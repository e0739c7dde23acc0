package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"homing/node"

	"golang.org/x/sys/unix"
)

// strategyNames are what a timeline calls the ways.
var strategyNames = map[string]string{"stop": "stop-copy", "pre": "pre-copy", "post": "post-copy", "hybrid": "pre-copy, then post-copy"}

// writeTimeline tells what a move was.
func writeTimeline(w io.Writer, r node.MoveReport) {
	if r.From == r.To {
		fmt.Fprintf(w, "%s: already %s\n", joinPIDs(r.PIDs), place(r.To))
		return
	}
	how := strategyNames[r.Strategy]
	if how == "" {
		how = r.Strategy
	}
	way := []string{}
	if how != "" {
		way = append(way, how)
	}
	if r.From != node.AtHome && r.To != node.AtHome {
		if r.Via == "" {
			way = append(way, "directly")
		} else {
			way = append(way, "through "+r.Via)
		}
	}
	fmt.Fprintf(w, "%s: %s -> %s", joinPIDs(r.PIDs), r.From, r.To)
	if len(way) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(way, "; "))
	}
	fmt.Fprintln(w)
	if r.Note != "" {
		fmt.Fprintf(w, "  %s\n", r.Note)
	}
	for i, round := range r.Rounds {
		fmt.Fprintf(w, "  round %-3d %9d pages %11s %11s", i+1, round.Pages, showBytes(round.Bytes), showTime(round.Duration))
		if round.Zero > 0 {
			fmt.Fprintf(w, "   and %d pages of zeroes", round.Zero)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "  frozen    %39s\n", showTime(r.Freeze))
	fmt.Fprintf(w, "  total     %9d pages %11s %11s\n", r.Pages, showBytes(r.Bytes), showTime(r.Total))
}

func place(name string) string {
	if name == node.AtHome {
		return "at home"
	}
	return "on " + name
}

func showBytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1023.5 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

func showTime(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// progressInterval is how often the progress line changes at most, within a phase.
const progressInterval = 100 * time.Millisecond

// progress is a line on a terminal that shows how far a move is; elsewhere it
// shows nothing.
type progress struct {
	to    *os.File // nil: not a terminal
	last  time.Time
	phase string
	shown bool
}

func newProgress(f *os.File) *progress {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return &progress{}
	}
	return &progress{to: f}
}

func (p *progress) show(e node.MoveEvent) {
	phase := fmt.Sprint(e.PIDs, e.Phase, e.Round)
	if p.to == nil || phase == p.phase && time.Since(p.last) < progressInterval {
		return
	}
	p.last, p.phase, p.shown = time.Now(), phase, true
	fmt.Fprintf(p.to, "\r\033[K%s", p.line(e))
}

// line is the progress in fewer columns than the terminal has, or the next one
// could not replace it.
func (p *progress) line(e node.MoveEvent) string {
	s := subject(e.PIDs) + e.Phase
	if e.Round > 0 {
		s += fmt.Sprintf(" round %d", e.Round)
	}
	switch {
	case e.Total > 0:
		s += fmt.Sprintf(": %s of %s (%d %%)", showBytes(e.Bytes), showBytes(e.Total), min(100, e.Bytes*100/e.Total))
	case e.Bytes > 0:
		s += ": " + showBytes(e.Bytes)
	}
	width := 80
	if ws, err := unix.IoctlGetWinsize(int(p.to.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 1 {
		width = int(ws.Col)
	}
	return s[:min(len(s), width-1)]
}

// clear removes the line.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.to, "\r\033[K")
		p.shown = false
	}
}
