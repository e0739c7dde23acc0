package oracle

import (
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"homing/internal/linux"
)

// A Terminal is a program on a pseudo-terminal, and what was seen there.
type Terminal struct {
	*Process
	pty  *os.File
	seen int // up to where the transcript has been expected
}

// StartTerminal starts a program on a terminal of its own, as the leader of its session.
func (r *Run) StartTerminal(rows, cols uint16, argv ...string) *Terminal {
	master, slave, err := openTerminal(rows, cols)
	r.Check(err)
	if r.User.Switch {
		r.Check(slave.Chown(int(r.User.UID), int(r.User.GID)))
	}
	t := &Terminal{Process: &Process{r: r, argv: argv, out: &lockedBuffer{}, err: &lockedBuffer{}, done: make(chan struct{})}, pty: master}
	t.cmd = r.command(r.Place, argv)
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = slave, slave, slave
	t.cmd.SysProcAttr.Setctty = true
	r.launch(t.Process)
	r.Check(slave.Close())
	r.closers = append(r.closers, func() { _ = master.Close() })
	go func() { _, _ = io.Copy(t.out, master) }()
	return t
}

// Send types.
func (t *Terminal) Send(text string) *Terminal {
	if _, err := io.WriteString(t.pty, text); err != nil {
		t.r.Fatalf("type %q: %w", text, err)
	}
	return t
}

// Expect waits until one of the texts appears after what was expected before.
func (t *Terminal) Expect(texts ...string) *Terminal {
	for {
		all := t.out.String()
		for _, text := range texts {
			if i := strings.Index(all[t.seen:], text); i >= 0 {
				t.seen += i + len(text)
				return t
			}
		}
		select {
		case <-t.r.ctx.Done():
			t.r.Fatalf("the terminal never showed %q; after what was expected before, it shows %q", texts, all[t.seen:])
		case <-t.done:
			if len(t.out.String()) == len(all) {
				t.r.Fatalf("the program ended (%s) before the terminal showed %q", t.status(), texts)
			}
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// Settle waits until the terminal has been quiet for d, and longer where a program is quiet while it moves.
func (t *Terminal) Settle(d time.Duration) *Terminal {
	if t.r.c.moved {
		d *= 5
	}
	for last := -1; last != len(t.out.String()); {
		last = len(t.out.String())
		time.Sleep(d)
	}
	t.seen = len(t.out.String())
	return t
}

// Resize changes the terminal's size, which sends SIGWINCH to its foreground.
func (t *Terminal) Resize(rows, cols uint16) *Terminal {
	t.r.Check(resize(t.pty, rows, cols))
	return t
}

// Close hangs the terminal up.
func (t *Terminal) Close() { _ = t.pty.Close() }

// Foreground is the process group that the terminal belongs to at this moment.
func (t *Terminal) Foreground() int {
	pgid, err := tcgetpgrp(t.pty)
	t.r.Check(err)
	return pgid
}

// Finish waits for the program's end and records the transcript and the status.
func (t *Terminal) Finish(prefix string) {
	status := t.Wait()
	time.Sleep(20 * time.Millisecond) // the last words may still be on their way through the terminal
	t.r.Record(prefix+"terminal", t.out.String())
	t.r.Record(prefix+"status", status)
}

// AwaitForeground waits until the program itself (own), or a job of it (not own), has the terminal.
func (t *Terminal) AwaitForeground(own bool) *Terminal {
	for (t.Foreground() == t.Pid()) != own {
		select {
		case <-t.r.ctx.Done():
			t.r.Fatalf("the terminal's foreground stays with process group %d; the program is %d", t.Foreground(), t.Pid())
		case <-t.done:
			t.r.Fatalf("the program ended (%s)", t.status())
		case <-time.After(3 * time.Millisecond):
		}
	}
	return t
}

// AwaitJob waits until the terminal belongs to a job of just these programs: a
// shell starts those of a pipeline one after the other.
func (t *Terminal) AwaitJob(programs ...string) *Terminal {
	t.AwaitForeground(false)
	slices.Sort(programs)
	for job := t.job(); !slices.Equal(job, programs); job = t.job() {
		select {
		case <-t.r.ctx.Done():
			t.r.Fatalf("the terminal belongs to %q, not to %q", job, programs)
		case <-time.After(3 * time.Millisecond):
		}
	}
	return t
}

// job lists the programs of the foreground.
func (t *Terminal) job() (programs []string) {
	group := t.Foreground()
	entries, err := os.ReadDir("/proc")
	t.r.Check(err)
	for _, e := range entries {
		st, err := linux.ReadStat("/proc/" + e.Name() + "/stat")
		if err == nil && st.PGRP == group {
			programs = append(programs, st.Comm)
		}
	}
	slices.Sort(programs)
	return programs
}
