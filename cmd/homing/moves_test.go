package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/node"
)

func TestFlagsFirst(t *testing.T) {
	for in, want := range map[string]string{
		"homing migrate 12 --to n1":                "homing migrate --to n1 -- 12",
		"homing migrate --to n1 12 13":             "homing migrate --to n1 -- 12 13",
		"homing migrate 12 --tree 13 --to=n1":      "homing migrate --tree --to=n1 -- 12 13",
		"homing migrate 12 -to n1 -- --tree":       "homing migrate -to n1 -- 12 --tree",
		"homing migrate 12 --to":                   "homing migrate --to",
		"homing recall --all --from n1":            "homing recall --all --from n1 --",
		"homing attach 12 --rate 5M --json --to n": "homing attach --rate 5M --json --to n -- 12",
		"homing detach 12 --nonsense 13":           "homing detach --nonsense -- 12 13",
		"homing run sh --on n1 -c":                 "homing run sh --on n1 -c",
		"homing migrate":                           "homing migrate",
		"homing":                                   "homing",
	} {
		if got := flagsFirst(strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "1000000": 1e6, "512K": 512 << 10, "50M": 50 << 20, "1.5g": 3 << 29, "2T": 2 << 40,
		"": 0, "M": 0, "0": 0, "-5M": 0, "x": 0, "5MB": 0, "NaN": 0, "Inf": 0, "9e99": 0,
	} {
		got, err := parseBytes(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func TestTimeline(t *testing.T) {
	var b bytes.Buffer
	writeTimeline(&b, node.MoveReport{
		PIDs: []int{4711, 4712}, From: "n1", To: "n2", Strategy: "pre", Note: "stop was too slow",
		Rounds: []node.MoveRound{
			{Pages: 262144, Bytes: 1 << 30, Zero: 12, Duration: 1020 * time.Millisecond},
			{Pages: 51, Bytes: 51 * 4096, Duration: 2 * time.Millisecond},
		},
		Pages: 262195, Bytes: 1<<30 + 51*4096, Freeze: 4100 * time.Microsecond, Total: 1300 * time.Millisecond,
	})
	writeTimeline(&b, node.MoveReport{PIDs: []int{5}, From: node.AtHome, To: node.AtHome})
	const want = `4711 4712: n1 -> n2 (pre-copy; directly)
  stop was too slow
  round 1      262144 pages     1.0 GiB      1.02 s   and 12 pages of zeroes
  round 2          51 pages   204.0 KiB      2.0 ms
  frozen                                     4.1 ms
  total        262195 pages     1.0 GiB      1.30 s
5: already at home
`
	if b.String() != want {
		t.Errorf("%s", b.String())
	}
}

func TestProgressLine(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p := newProgress(f); p.to != nil {
		t.Error("a file is no terminal")
	}
	p := &progress{to: f}
	p.show(node.MoveEvent{PIDs: []int{5}, Phase: "pre-copy", Round: 2, Bytes: 3 << 20, Total: 12 << 20})
	p.show(node.MoveEvent{PIDs: []int{5}, Phase: strings.Repeat("x", 200)})
	p.clear()
	p.clear()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := "\r\033[K5: pre-copy round 2: 3.0 MiB of 12.0 MiB (25 %)\r\033[K5: " + strings.Repeat("x", 76) + "\r\033[K"; string(got) != want {
		t.Errorf("%q", got)
	}
}
