package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"homing/node"
)

// A leg is one move of a tour, which begins and ends at home.
type leg struct{ from, to string }

func (l leg) String() string { return l.from + "→" + l.to }

var legs = []leg{{node.AtHome, "n1"}, {"n1", "n2"}, {"n2", node.AtHome}}

// mover is a program started at home that is moved about.
type mover struct {
	*talker
	b   *bench
	pid int
}

// startMover starts a program under `homing run` and waits for the line with its number.
func (b *bench) startMover(ctx context.Context, argv ...string) (*mover, error) {
	t, err := startTalker("the program that moves", b.env, append([]string{b.Homing, "run", "--"}, argv...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	said, err := t.line(ctx)
	if err != nil {
		t.stop()
		return nil, err
	}
	pid, err := strconv.Atoi(said)
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("the program that moves: %s", said)
	}
	return &mover{t, b, pid}, nil
}

// to moves the program with `homing migrate`.
func (m *mover) to(ctx context.Context, place, strategy string, flags ...string) (*node.MoveReport, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	argv := append([]string{m.b.Homing, "migrate", strconv.Itoa(m.pid), "--to", place, "--strategy", strategy, "--json"}, flags...)
	out, _, err := runCommand(ctx, m.b.env, argv...)
	if err != nil {
		return nil, fmt.Errorf("move to %s: %w", place, err)
	}
	var res node.MoveResult
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return nil, fmt.Errorf("move to %s: %w", place, err)
	}
	if len(res.Moved) != 1 {
		return nil, fmt.Errorf("move to %s: %d timelines", place, len(res.Moved))
	}
	return &res.Moved[0], nil
}

// pace is an answer of programs/pacer.c.
type pace struct {
	gap       float64 // ms: the longest time without a stamp
	recovered float64 // ms until it worked at 90 % of its speed again; less than 0: not yet
}

// pace asks the pacer about the time since the last question.
func (m *mover) pace(ctx context.Context) (pace, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if err := syscall.Kill(m.pid, syscall.SIGUSR1); err != nil {
		return pace{}, fmt.Errorf("ask the pacer: %w", err)
	}
	answer, err := m.line(ctx)
	if err != nil {
		return pace{}, err
	}
	var gap, stamps, time, recovered int64
	if _, err := fmt.Sscan(answer, &gap, &stamps, &time, &recovered); err != nil {
		return pace{}, fmt.Errorf("the pacer said %q", answer)
	}
	return pace{float64(gap) / 1e6, float64(recovered) / 1e3}, nil
}

// moved is what one leg, made in one way, came to: milliseconds.
type moved struct {
	gap       []float64 // what the program lost
	quiet     []float64 // the same without a move, for as long
	frozen    []float64 // what Homing says of it
	total     []float64
	recovered []float64
	last      *node.MoveReport
}

// moves are those of a tour: by strategy, then leg.
type moves map[string]map[leg]*moved

// touring says what is moved, and how.
type touring struct {
	mib, dirtied int
	how, pages   string
	strategies   string // one tour each in turn, separated by spaces
	rounds       int
	settle       time.Duration // how long the program is watched after a move, and before
}

// tour takes a pacer round all legs, in each way in turn. Rows that show different
// parts of the same tours share them.
func (b *bench) tour(ctx context.Context, t touring) (moves, error) {
	if found, ok := b.tours[t]; ok {
		return found, nil
	}
	if err := b.compilePacer(ctx); err != nil {
		return nil, err
	}
	m, err := b.startMover(ctx, b.pacer, strconv.Itoa(t.mib), strconv.Itoa(t.dirtied), t.how, t.pages)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	all := moves{}
	for round := range b.rounds(t.rounds) + 1 {
		for strategy := range strings.FieldsSeq(t.strategies) {
			if all[strategy] == nil {
				all[strategy] = map[leg]*moved{}
			}
			for _, l := range legs {
				at := all[strategy][l]
				if at == nil || round == 1 { // the first is thrown away
					at = &moved{}
					all[strategy][l] = at
				}
				use := strategy
				if l.to == node.AtHome {
					use = "stop"
				}
				if err := m.leg(ctx, l, use, t.settle, at); err != nil {
					return nil, fmt.Errorf("%s, %s: %w", l, strategy, err)
				}
			}
		}
	}
	if b.tours == nil {
		b.tours = map[touring]moves{}
	}
	b.tours[t] = all
	return all, nil
}

func (b *bench) compilePacer(ctx context.Context) (err error) {
	if b.pacer == "" {
		b.pacer, err = b.compile(ctx, "pacer", pacerSource, "-O2")
	}
	return err
}

// leg makes one move and takes down what it cost.
func (m *mover) leg(ctx context.Context, l leg, strategy string, settle time.Duration, at *moved) error {
	if _, err := m.pace(ctx); err != nil {
		return err
	}
	time.Sleep(settle)
	quiet, err := m.pace(ctx)
	if err != nil {
		return err
	}
	report, err := m.to(ctx, l.to, strategy)
	if err != nil {
		return err
	}
	if report.Strategy != strategy {
		return fmt.Errorf("asked for %s, it was %s: %s", strategy, report.Strategy, report.Note)
	}
	time.Sleep(settle)
	p, err := m.pace(ctx)
	if err != nil {
		return err
	}
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	at.gap, at.quiet = append(at.gap, p.gap), append(at.quiet, quiet.gap)
	at.frozen, at.total = append(at.frozen, ms(report.Freeze)), append(at.total, ms(report.Total))
	if p.recovered >= 0 {
		at.recovered = append(at.recovered, p.recovered)
	}
	at.last = report
	return nil
}

// small is a process of 1 MiB.
var small = touring{mib: 1, how: "sleep", pages: "small", strategies: "stop", rounds: 20, settle: 100 * time.Millisecond}

// freezeSmall: what a small program loses, beside what it loses without a move.
func freezeSmall(l leg) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		all, err := b.tour(ctx, small)
		if err != nil {
			return err
		}
		at := all["stop"][l]
		r.Figure, r.Baseline = summarise("moved", at.gap), summarise("no move", at.quiet)
		r.Others = []Stat{summarise("frozen", at.frozen), summarise("total", at.total)}
		r.compare(difference, 0)
		r.aim(5)
		r.Notes = describe(at.last)
		return nil
	}
}

// large is a process of 1 GiB that writes to its memory all the while.
func (b *bench) large(pages string) touring {
	return touring{mib: b.MoveMiB, dirtied: 50, how: "sleep", pages: pages, strategies: "stop pre post hybrid", rounds: 5, settle: time.Second}
}

// freezeLarge: what a large program loses by a strategy, beside stopping it for
// all of its memory.
func freezeLarge(pages, strategy string, l leg, aim float64) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		all, err := b.tour(ctx, b.large(pages))
		if err != nil {
			return err
		}
		at, stop := all[strategy][l], all["stop"][l]
		r.Figure, r.Baseline = summarise(strategy, at.gap), summarise("stop", stop.gap)
		r.Others = []Stat{summarise("no move", at.quiet), summarise("frozen", at.frozen), summarise("total", at.total), summarise("total of stop", stop.total)}
		r.compare(ratio, 0)
		r.aim(aim)
		r.Notes = describe(at.last)
		return nil
	}
}

// aim is one for the figure itself, in the row's unit.
func (r *Row) aim(limit float64) {
	met := r.Figure.Median <= limit
	r.Aim, r.Met = fmt.Sprintf("≤ %g %s", limit, r.Unit), &met
}

// describe tells of the last of many moves how its memory went.
func describe(m *node.MoveReport) string {
	var rounds []string
	for _, r := range m.Rounds {
		rounds = append(rounds, fmt.Sprintf("%d pages in %s ms", r.Pages, digits(float64(r.Duration.Nanoseconds())/1e6)))
	}
	text := fmt.Sprintf("the last: %d pages, %.1f MB", m.Pages, float64(m.Bytes)/1e6)
	if len(rounds) > 0 {
		text += " (" + strings.Join(rounds, ", ") + ")"
	}
	if m.Note != "" {
		text += "; " + m.Note
	}
	return text
}

// transferTotal: all of a stopped 1 GiB, beside as many bytes over a connection.
func transferTotal(l leg) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		t := touring{mib: b.MoveMiB, how: "sleep", pages: "small", strategies: "stop", rounds: 5, settle: 10 * time.Millisecond}
		all, err := b.tour(ctx, t)
		if err != nil {
			return err
		}
		at := all["stop"][l]
		var others []Stat
		for _, kind := range []string{"tls", "tcp"} {
			once, stop, err := stream(kind, int64(b.MoveMiB)*mib)
			if err != nil {
				return fmt.Errorf("raw %s: %w", kind, err)
			}
			stats, err := interleave(ctx, b.rounds(t.rounds), arm{"raw " + kind, func(ctx context.Context) (float64, error) {
				ctx, cancel := context.WithTimeout(ctx, stepLimit)
				defer cancel()
				return once(ctx)
			}})
			stop()
			if err != nil {
				return err
			}
			others = append(others, stats[0])
		}
		r.Figure, r.Baseline, r.Others = summarise("total", at.total), others[0], others[1:]
		r.Others = append(r.Others, summarise("gap", at.gap))
		r.compare(ratio, 1.3)
		rate := func(s Stat) float64 { return float64(b.MoveMiB) * mib / s.Median / 1e6 }
		r.Notes = fmt.Sprintf("%.2f GB/s moved, %.2f over TLS; %s", rate(r.Figure), rate(r.Baseline), describe(at.last))
		return nil
	}
}

// recovery: when a program that works all over its 1 GiB is as fast as before.
func recovery(l leg) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		t := touring{mib: b.MoveMiB, how: "work", pages: "small", strategies: "stop post", rounds: 3, settle: 4 * time.Second}
		all, err := b.tour(ctx, t)
		if err != nil {
			return err
		}
		post, stop := all["post"][l], all["stop"][l]
		if len(post.recovered) == 0 {
			return fmt.Errorf("not as fast as before within %v", t.settle)
		}
		r.Figure, r.Baseline = summarise("post", post.recovered), summarise("total of stop", stop.total)
		r.Others = []Stat{summarise("gap", post.gap), summarise("gap of stop", stop.gap)}
		if len(stop.recovered) > 0 {
			r.Others = append(r.Others, summarise("stop", stop.recovered))
		}
		r.compare(ratio, 0)
		r.Notes = fmt.Sprintf("from before the command; work at random addresses of all memory; %d of %d recovered", len(post.recovered), len(post.gap))
		return nil
	}
}

// besideMove: what the calls of another guest take while memory goes to its node,
// with a limit on the rate, beside what they take when nothing moves.
func (b *bench) besideMove(ctx context.Context, r *Row) error {
	const n = 100
	question := fmt.Sprintf("getppid %d", n)
	if err := b.compilePacer(ctx); err != nil {
		return err
	}
	m, err := b.startMover(ctx, b.pacer, strconv.Itoa(b.MoveMiB/4), "0", "sleep", "small")
	if err != nil {
		return err
	}
	defer m.stop()
	once := b.asking("", b.away, 1e3, n, question).once
	var quiet, limited, full []float64
	during := func(flags ...string) ([]float64, error) {
		moved := make(chan error, 1)
		go func() {
			_, err := m.to(ctx, "n1", "pre", flags...)
			moved <- err
		}()
		var took []float64
		for {
			us, err := once(ctx)
			if err != nil {
				return nil, err
			}
			took = append(took, us)
			select {
			case err := <-moved:
				if err == nil {
					_, err = m.to(ctx, node.AtHome, "stop")
				}
				return took, err
			default:
			}
		}
	}
	for range b.rounds(5) {
		for range 50 {
			us, err := once(ctx)
			if err != nil {
				return err
			}
			quiet = append(quiet, us)
		}
		some, err := during("--rate", "100M")
		if err != nil {
			return err
		}
		limited = append(limited, some...)
		if some, err = during(); err != nil {
			return err
		}
		full = append(full, some...)
	}
	r.Figure, r.Baseline, r.Others = summarise("--rate 100M", limited), summarise("no move", quiet), []Stat{summarise("no limit", full)}
	r.compare(ratio, 0)
	r.Notes = fmt.Sprintf("means of %d calls each", n)
	return nil
}

// startWorker starts a further worker at home.
func (b *bench) startWorker(ctx context.Context) (*mover, error) {
	t, err := startTalker("the worker that moves", b.env, b.Homing, "run", "--", b.worker)
	if err != nil {
		return nil, err
	}
	m := &mover{talker: t, b: b}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	pid, err := t.nanoseconds(ctx, "pid 0")
	if err != nil {
		t.stop()
		return nil, err
	}
	m.pid = int(pid)
	return m, nil
}

// forwardedMoved: a forwarded call of a program that was moved twice, beside one
// that was started on its node.
func (b *bench) forwardedMoved(ctx context.Context, r *Row) error {
	const n = 1000
	m, err := b.startWorker(ctx)
	if err != nil {
		return err
	}
	defer m.stop()
	for _, l := range legs[:2] {
		if _, err := m.to(ctx, l.to, "stop"); err != nil {
			return err
		}
	}
	question := fmt.Sprintf("getppid %d", n)
	stats, err := interleave(ctx, b.rounds(25),
		b.asking("home→n1→n2", m.talker, 1e3, n, question),
		b.asking("started on n1", b.away, 1e3, n, question))
	if err != nil {
		return err
	}
	r.Figure, r.Baseline = stats[0], stats[1]
	r.compare(ratio, 1.05)
	return nil
}

// returned: a loop of a program that was away, beside one that never left. It
// must be an ordinary process again.
func returned(unit float64, n, rounds int, question string, aim float64) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		m, err := b.startWorker(ctx)
		if err != nil {
			return err
		}
		defer m.stop()
		maps := fmt.Sprintf("/proc/%d/maps", m.pid)
		before, err := os.ReadFile(maps)
		if err != nil {
			return err
		}
		for _, l := range legs {
			if _, err := m.to(ctx, l.to, "stop"); err != nil {
				return err
			}
		}
		after, err := os.ReadFile(maps)
		if err != nil {
			return err
		}
		if string(before) != string(after) {
			return fmt.Errorf("its mappings are not as before:\n%s\nbefore:\n%s", after, before)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
		if err != nil {
			return err
		}
		lines := strings.Split(string(status), "\n")
		for _, want := range []string{"Seccomp:\t0", "TracerPid:\t0"} {
			if !slices.Contains(lines, want) {
				return fmt.Errorf("it is no ordinary process: no line %q in its status", want)
			}
		}
		stats, err := interleave(ctx, b.rounds(rounds),
			b.asking("returned", m.talker, unit, n, question),
			b.asking("never left", b.home, unit, n, question),
			b.asking("native", b.native, unit, n, question))
		if err != nil {
			return err
		}
		r.Figure, r.Baseline, r.Others = stats[0], stats[1], stats[2:]
		r.compare(speed, aim)
		r.Notes = "home→n1→n2→home; no filter, no tracer, the same mappings"
		return nil
	}
}
