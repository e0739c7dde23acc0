package shadow

import (
	"encoding/binary"
	"testing"

	"homing/internal/protocol"
)

func TestParseProcFile(t *testing.T) {
	for path, want := range map[string]protocol.ProcFile{
		"/proc/812/maps":                   {PID: 812, Name: "maps"},
		"/proc/812/task/813/stat":          {PID: 812, TID: 813, Name: "stat"},
		"/some/root/proc/812/status":       {PID: 812, Name: "status"},
		"/some/root/proc/8/task/9/statm":   {PID: 8, TID: 9, Name: "statm"},
		"/proc/stat":                       {},
		"/proc/self/maps":                  {},
		"/home/u/maps":                     {},
		"/proc/812/task/x/stat":            {},
		"maps":                             {},
		"":                                 {},
		"/memfd:proc (deleted)":            {},
		"/proc/99999999999999999999/maps":  {},
		"/proc/1/task/9999999999999999999": {},
	} {
		got, ok := parseProcFile(path)
		if ok != (want.Name != "") || ok && got != want {
			t.Errorf("%q: %+v, %v", path, got, ok)
		}
	}
}

func TestAddUsage(t *testing.T) {
	ru := make([]byte, 144)
	put := func(word int, v uint64) { binary.LittleEndian.PutUint64(ru[8*word:], v) }
	get := func(word int) uint64 { return binary.LittleEndian.Uint64(ru[8*word:]) }
	put(0, 1)
	put(1, 999_999)
	put(4, 500)
	put(8, 10)
	addUsage(ru, protocol.CPUTime{User: 2_000_002_000, System: 7_000, MaxRSS: 400, MinFlt: 5, MajFlt: 6})
	for word, want := range map[int]uint64{0: 4, 1: 1, 2: 0, 3: 7, 4: 500, 8: 15, 9: 6} {
		if get(word) != want {
			t.Errorf("word %d is %d, want %d", word, get(word), want)
		}
	}
	addUsage(ru[:8], protocol.CPUTime{User: 1}) // other data
	addUsage(nil, protocol.CPUTime{User: 1})
}

func TestStatWithChildren(t *testing.T) {
	s := &Supervisor{}
	p := &process{children: protocol.CPUTime{User: 3e9, System: 5e7}}
	in := "812 (a) b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n"
	if got, want := s.withChildren(p, in), "812 (a) b) S 4 5 6 7 8 9 10 11 12 13 14 15 316 22 18\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, odd := range []string{"", "no fields", "1 (x) R"} {
		s.withChildren(p, odd) // must not panic
	}
}
