package checkpoint

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"homing/internal/tracer"
)

func TestParseTimers(t *testing.T) {
	text := "ID: 16777216\nsignal: 10/0000000000000007\nnotify: signal/pid.99\nClockID: 2\n" +
		"ID: 16777217\nsignal: 27/00007ffd0000aa55\nnotify: signal/tid.100\nClockID: -6\n" +
		"ID: 3\nsignal: 0/0000000000000000\nnotify: none/pid.99\nClockID: 3\n"
	got, err := parseTimers(text, func(here int) int { return here + 1000 })
	if err != nil {
		t.Fatal(err)
	}
	want := []Timer{
		{ID: 16777216, Clock: 2, Signo: 10, Value: 7},
		{ID: 16777217, Clock: -6, Signo: 27, Value: 0x7ffd0000aa55, Notify: sigevThreadID, TID: 1100},
		{ID: 3, Clock: 3, Notify: sigevNone},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []string{"signal: 1/2\n", "ID: x\n", "ID: 1\nsignal: y/1\n", "ID: 1\nClockID: 99999999999\n"} {
		if _, err := parseTimers(bad, func(int) int { return 0 }); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

// Timers on CPU clocks stop when their process leaves, and are as they were when
// it is back; others do not notice.
func TestTimers(t *testing.T) {
	v := startVictim(t, "timers")
	says := func(want string) {
		t.Helper()
		if got := strings.TrimSpace(v.line()); got != want {
			t.Errorf("it says %s, want %s", got, want)
		}
	}
	const all = "0:set/7 1:set/7 2:set/7 3:set/7 16777216:none prof:set"
	says(all)
	var timers Timers
	v.stopped(func(threads []int, body *tracer.Body) (err error) {
		if timers, err = CaptureTimers(v.pid, v.pid, body, func(here int) int { return here }); err != nil {
			return err
		}
		return timers.Disarm(v.pid, body)
	})
	if len(timers.POSIX) != 3 || timers.validate() != nil {
		t.Errorf("captured %+v", timers)
	}
	v.tell("")
	says("0:set/7 1:off/0 2:off/0 3:off/0 16777216:none prof:off")
	v.stopped(func(_ []int, body *tracer.Body) error {
		return timers.Restore(v.pid, body, func(home int) int { return home })
	})
	v.tell("")
	says(all)
	// Away one was made and one deleted.
	made := timers
	made.POSIX = append(slices.DeleteFunc(slices.Clone(timers.POSIX), func(m Timer) bool { return m.ID == 3 }), timers.POSIX[0])
	made.POSIX[2].ID = FirstCPUTimer
	v.stopped(func(_ []int, body *tracer.Body) error {
		return made.Restore(v.pid, body, func(home int) int { return home })
	})
	v.tell("")
	says("0:set/7 1:set/7 2:set/7 3:none 16777216:set/7 prof:set")
	if _, err := io.WriteString(v.in, "n"); err != nil {
		t.Fatal(err)
	}
	if got := v.line(); got != "new 5" { // 4 was used to bring the count back
		t.Errorf("a timer that is made now: %s", got)
	}
	v.line()
	v.end()

	// Another process gets them, too.
	w := startVictim(t, "actions")
	w.line()
	timers.POSIX = slices.DeleteFunc(timers.POSIX, func(m Timer) bool { return m.Notify&sigevThreadID != 0 })
	timers.POSIX[0].ID = 0
	w.stopped(func(_ []int, body *tracer.Body) error {
		if err := timers.Restore(w.pid, body, func(home int) int { return home }); err != nil {
			return err
		}
		got, err := CaptureTimers(w.pid, w.pid, body, func(here int) int { return here })
		if err != nil {
			return err
		}
		slices.SortFunc(got.POSIX, func(a, b Timer) int { return a.ID - b.ID })
		if len(got.POSIX) != 2 || got.POSIX[0].ID != 0 || got.POSIX[1].ID != 1 || got.POSIX[0].Left[2] < 900 {
			t.Errorf("restored %+v, got %+v", timers, got)
		}
		return nil
	})
	w.end()
}
