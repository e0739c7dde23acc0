package checkpoint

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/tracer"
)

// Timers are those of a body that count its processor time. What they have left
// is relative, so nothing is lost while they travel.
type Timers struct {
	Virtual, Prof [4]int64 // struct itimerval: interval and value, each seconds and microseconds
	POSIX         []Timer  // made by timer_create(2)
}

// Timer is one timer of timer_create(2).
type Timer struct {
	ID     int
	Clock  int32
	Signo  int32
	Value  uint64 // si_value
	Notify int32  // SIGEV_*
	TID    int    // of SIGEV_THREAD_ID
	Left   [4]int64
}

const (
	itimerVirtual, itimerProf = 1, 2
	itimerSize                = 32
	sigeventSize              = 64
	sigevNone, sigevThreadID  = 1, 4

	// maxTimers bounds what is carried; RLIMIT_SIGPENDING bounds what a program can have.
	maxTimers = 1 << 16

	prTimerCreateRestoreIDs = 77
)

// CaptureTimers reads the timers of a stopped process through its thread tid.
// threads translates numbers of threads as they are here.
func CaptureTimers(pid, tid int, body *tracer.Body, threads func(here int) int) (Timers, error) {
	var t Timers
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/timers")
	if err != nil && !os.IsNotExist(err) { // a kernel without CONFIG_POSIX_TIMERS' file
		return t, fmt.Errorf("timers of process %d: %w", pid, err)
	}
	if t.POSIX, err = parseTimers(string(text), threads); err != nil {
		return t, fmt.Errorf("timers of process %d: %w", pid, err)
	}
	scratch := body.Table + uint64(body.Size)
	ask := func(calls []tracer.Call, into []*[4]int64) error {
		if _, err := body.Inject(tid, calls); err != nil {
			return fmt.Errorf("timers of process %d: %w", pid, err)
		}
		buf := make([]byte, itimerSize*len(calls))
		if err := body.ReadScratch(tid, buf); err != nil {
			return err
		}
		for i, to := range into {
			for w := range to {
				to[w] = int64(binary.LittleEndian.Uint64(buf[itimerSize*i+8*w:]))
			}
		}
		return nil
	}
	if err := ask([]tracer.Call{
		tracer.C(unix.SYS_GETITIMER, itimerVirtual, scratch),
		tracer.C(unix.SYS_GETITIMER, itimerProf, scratch+itimerSize),
	}, []*[4]int64{&t.Virtual, &t.Prof}); err != nil {
		return t, err
	}
	const batch = 256
	for rest := t.POSIX; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
		var calls []tracer.Call
		var into []*[4]int64
		for i := range rest[:min(batch, len(rest))] {
			calls = append(calls, tracer.C(unix.SYS_TIMER_GETTIME, uint64(rest[i].ID), scratch+uint64(itimerSize*i)))
			into = append(into, &rest[i].Left)
		}
		if err := ask(calls, into); err != nil {
			return t, err
		}
	}
	return t, nil
}

// TimerIDs lists the timers that a process has made with timer_create(2).
func TimerIDs(pid int) ([]int, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/timers")
	if err != nil {
		return nil, fmt.Errorf("timers of process %d: %w", pid, err)
	}
	timers, err := parseTimers(string(text), func(here int) int { return here })
	ids := make([]int, len(timers))
	for i, t := range timers {
		ids[i] = t.ID
	}
	return ids, err
}

// parseTimers reads /proc/PID/timers, see proc_pid_timers(5).
func parseTimers(text string, threads func(int) int) ([]Timer, error) {
	var out []Timer
	for line := range strings.Lines(text) {
		key, val, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if key == "ID" {
			id, err := strconv.Atoi(val)
			if err != nil {
				return nil, fmt.Errorf("timers: %q", line)
			}
			out = append(out, Timer{ID: id})
			continue
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("timers: %q", line)
		}
		t := &out[len(out)-1]
		var err error
		switch key {
		case "signal":
			sig, value, _ := strings.Cut(val, "/")
			var n int
			n, err = strconv.Atoi(sig)
			t.Signo = int32(n)
			if err == nil {
				t.Value, err = strconv.ParseUint(value, 16, 64)
			}
		case "notify": // "signal/pid.8", "none/tid.9"
			how, whom, _ := strings.Cut(val, "/")
			if how == "none" {
				t.Notify = sigevNone
			}
			if tid, ok := strings.CutPrefix(whom, "tid."); ok {
				t.Notify |= sigevThreadID
				t.TID, err = strconv.Atoi(tid)
				t.TID = threads(t.TID)
			}
		case "ClockID":
			var n int64
			n, err = strconv.ParseInt(val, 10, 32)
			t.Clock = int32(n)
		}
		if err != nil {
			return nil, fmt.Errorf("timers: %q: %w", line, err)
		}
	}
	return out, nil
}

// Restore makes the timers again in the process of the stopped thread tid.
func (t *Timers) Restore(tid int, body *tracer.Body) error {
	if t.Virtual != [4]int64{} || t.Prof != [4]int64{} {
		if err := t.restoreItimers(tid, body); err != nil {
			return err
		}
	}
	if len(t.POSIX) == 0 {
		return nil
	}
	scratch := body.Table + uint64(body.Size)
	if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 1)}); err != nil {
		return fmt.Errorf("restore timers (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15): %w", err)
	}
	for i := range t.POSIX {
		m := &t.POSIX[i]
		b := make([]byte, 8+sigeventSize+itimerSize)
		le := binary.LittleEndian
		le.PutUint32(b, uint32(m.ID))
		le.PutUint64(b[8:], m.Value)
		le.PutUint32(b[16:], uint32(m.Signo))
		le.PutUint32(b[20:], uint32(m.Notify))
		le.PutUint32(b[24:], uint32(m.TID))
		for w, v := range m.Left {
			le.PutUint64(b[8+sigeventSize+8*w:], uint64(v))
		}
		if err := body.WriteScratch(tid, b); err != nil {
			return err
		}
		if _, err := body.Inject(tid, []tracer.Call{ // scratch: number, sigevent, itimerspec
			tracer.C(unix.SYS_TIMER_CREATE, uint64(int64(m.Clock)), scratch+8, scratch),
			tracer.C(unix.SYS_TIMER_SETTIME, uint64(m.ID), 0, scratch+8+sigeventSize, 0),
		}); err != nil {
			return fmt.Errorf("restore timer %d: %w", m.ID, err)
		}
	}
	if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_PRCTL, prTimerCreateRestoreIDs, 0)}); err != nil {
		return fmt.Errorf("restore timers: %w", err)
	}
	return nil
}

func (t *Timers) restoreItimers(tid int, body *tracer.Body) error {
	scratch := body.Table + uint64(body.Size)
	var b []byte
	for _, v := range append(t.Virtual[:], t.Prof[:]...) {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	if err := body.WriteScratch(tid, b); err != nil {
		return err
	}
	if _, err := body.Inject(tid, []tracer.Call{
		tracer.C(unix.SYS_SETITIMER, itimerVirtual, scratch, 0),
		tracer.C(unix.SYS_SETITIMER, itimerProf, scratch+itimerSize, 0),
	}); err != nil {
		return fmt.Errorf("restore interval timers: %w", err)
	}
	return nil
}

func (t *Timers) validate() error {
	if len(t.POSIX) > maxTimers {
		return fmt.Errorf("%d timers", len(t.POSIX))
	}
	return nil
}
