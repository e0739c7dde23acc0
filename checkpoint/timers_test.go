package checkpoint

import (
	"reflect"
	"testing"
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
