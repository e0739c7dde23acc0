package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
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

// FirstCPUTimer is the lowest number of a timer on a CPU clock that is made away;
// at home the kernel counts from 0.
const FirstCPUTimer = 1 << 24

// IsCPUClock tells whether a clockid_t counts processor time, see
// clock_getcpuclockid(3); descriptors as clocks are home's.
func IsCPUClock(id int32) bool {
	const clockFD, kindMask = 3, 7
	return id == unix.CLOCK_PROCESS_CPUTIME_ID || id == unix.CLOCK_THREAD_CPUTIME_ID || id < 0 && id&kindMask != clockFD
}

// CaptureTimers reads the timers of a stopped process that count its processor
// time, through its thread tid. Those on other clocks stay where they are: home.
// threads translates numbers of threads as they are here.
func CaptureTimers(pid, tid int, body *tracer.Body, threads func(here int) int) (Timers, error) {
	var t Timers
	all, err := readTimers(pid, threads)
	if err != nil {
		return t, err
	}
	t.POSIX = slices.DeleteFunc(all, func(m Timer) bool { return !IsCPUClock(m.Clock) })
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
	timers, err := readTimers(pid, func(here int) int { return here })
	ids := make([]int, len(timers))
	for i, t := range timers {
		ids[i] = t.ID
	}
	return ids, err
}

func readTimers(pid int, threads func(int) int) ([]Timer, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/timers")
	if err != nil && !os.IsNotExist(err) { // a kernel without CONFIG_POSIX_TIMERS' file
		return nil, fmt.Errorf("timers of process %d: %w", pid, err)
	}
	timers, err := parseTimers(string(text), threads)
	if err != nil {
		return nil, fmt.Errorf("timers of process %d: %w", pid, err)
	}
	return timers, nil
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

// Disarm stops the timers of a process that leaves; they keep their numbers, so
// that nobody else gets them. Restore sets them again, here too.
func (t *Timers) Disarm(tid int, body *tracer.Body) error {
	if t.Virtual == [4]int64{} && t.Prof == [4]int64{} && len(t.POSIX) == 0 {
		return nil
	}
	scratch := body.Table + uint64(body.Size)
	if err := body.WriteScratch(tid, make([]byte, itimerSize)); err != nil {
		return err
	}
	steps := []step{
		must(unix.SYS_SETITIMER, itimerVirtual, scratch, 0),
		must(unix.SYS_SETITIMER, itimerProf, scratch, 0),
	}
	for _, m := range t.POSIX {
		steps = append(steps, must(unix.SYS_TIMER_SETTIME, uint64(m.ID), 0, scratch, 0))
	}
	if err := run(tid, body, steps); err != nil {
		return fmt.Errorf("stop timers: %w", err)
	}
	return nil
}

// Restore makes the process of the stopped thread tid have these timers, and no
// others on CPU clocks: those that it kept since Disarm are set, the rest is
// made with the numbers that the program knows. threads translates numbers of
// threads, as the program knows them, to those here.
func (t *Timers) Restore(tid int, body *tracer.Body, threads func(home int) int) error {
	if t.Virtual != [4]int64{} || t.Prof != [4]int64{} {
		if err := t.restoreItimers(tid, body); err != nil {
			return err
		}
	}
	kept, low, err := keptTimers(tid)
	if err != nil || len(t.POSIX)+len(kept) == 0 {
		return err
	}
	scratch := body.Table + uint64(body.Size)
	numbered := false
	for i := range t.POSIX {
		m := &t.POSIX[i]
		if m.ID < FirstCPUTimer {
			low = max(low, m.ID+1)
		}
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
		by, steps := tid, []step(nil) // scratch: number, sigevent, itimerspec
		if !kept[m.ID] {
			if !numbered {
				if err := chooseNumbers(tid, body, true); err != nil {
					return err
				}
				numbered = true
			}
			if m.Notify&sigevThreadID != 0 {
				by = threads(m.TID) // its own clock is meant, if any thread's
			}
			steps = []step{must(unix.SYS_TIMER_CREATE, uint64(int64(m.Clock)), scratch+8, scratch)}
		}
		delete(kept, m.ID)
		if err := body.WriteScratch(by, b); err != nil {
			return err
		}
		if err := run(by, body, append(steps, must(unix.SYS_TIMER_SETTIME, uint64(m.ID), 0, scratch+8+sigeventSize, 0))); err != nil {
			return fmt.Errorf("restore timer %d: %w", m.ID, err)
		}
	}
	var gone []step
	for id := range kept {
		gone = append(gone, wish(unix.SYS_TIMER_DELETE, uint64(id)))
	}
	if err := run(tid, body, gone); err != nil {
		return fmt.Errorf("delete timers: %w", err)
	}
	if !numbered {
		return nil
	}
	// The kernel counts on from the last number: bring it back to the low ones.
	b := binary.LittleEndian.AppendUint32(nil, uint32(low))
	b = append(b, make([]byte, 4+sigeventSize)...)
	binary.LittleEndian.PutUint32(b[20:], sigevNone)
	if err := body.WriteScratch(tid, b); err != nil {
		return err
	}
	var failed *tracer.CallError
	if _, err := body.Inject(tid, []tracer.Call{
		tracer.C(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, scratch+8, scratch),
		tracer.C(unix.SYS_TIMER_DELETE, uint64(low)),
	}); err != nil && !errors.As(err, &failed) { // else it has as many as it may have
		return fmt.Errorf("restore timers: %w", err)
	}
	return chooseNumbers(tid, body, false)
}

// chooseNumbers lets timer_create take the number from where it puts it
// otherwise, or not any more.
func chooseNumbers(tid int, body *tracer.Body, on bool) error {
	arg := uint64(0)
	if on {
		arg = 1
	}
	if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_PRCTL, prTimerCreateRestoreIDs, arg)}); err != nil {
		return fmt.Errorf("restore timers (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15): %w", err)
	}
	return nil
}

// keptTimers is the set of timers on CPU clocks that a process has, and the next
// number that its kernel would give if none had been made away.
func keptTimers(tid int) (kept map[int]bool, low int, err error) {
	all, err := readTimers(tid, func(here int) int { return here })
	if err != nil {
		return nil, 0, err
	}
	kept = map[int]bool{}
	for _, m := range all {
		if IsCPUClock(m.Clock) {
			kept[m.ID] = true
		}
		if m.ID < FirstCPUTimer {
			low = max(low, m.ID+1)
		}
	}
	return kept, low, nil
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
	for _, m := range t.POSIX {
		if m.ID < 0 || !IsCPUClock(m.Clock) {
			return fmt.Errorf("image: timer %d on clock %d", m.ID, m.Clock)
		}
	}
	return nil
}
