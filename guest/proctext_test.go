package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
	"homing/syscallfwd"
)

func testView() *procView {
	return &procView{
		hidden: linux.Range{Start: 0x1f0000000000, End: 0x1f0000021000},
		origin: func(dev, ino uint64) (checkpoint.File, bool) {
			if dev == unix.Mkdev(0, 1) && ino == 77 {
				return checkpoint.File{Path: "/usr/lib/a b\nc.so", Dev: unix.Mkdev(0xfe, 0), Ino: 326269}, true
			}
			return checkpoint.File{}, false
		},
	}
}

func TestMapsText(t *testing.T) {
	in := "1f0000000000-1f0000001000 r-xp 00000000 00:00 0 \n" +
		"1f0000001000-1f0000021000 rw-p 00000000 00:00 0 \n" +
		"55e8e353d000-55e8e3541000 r--p 00002000 00:01 77                         /memfd:homing-image (deleted)\n" +
		"55e8ebc92000-55e8ebcb3000 rw-p 00000000 00:00 0                          [heap]\n" +
		"7f0000000000-7f0000001000 rw-s 00000000 00:01 78                         /dev/zero (deleted)\n"
	want := `55e8e353d000-55e8e3541000 r--p 00002000 fe:00 326269                     /usr/lib/a b\012c.so` + "\n" +
		"55e8ebc92000-55e8ebcb3000 rw-p 00000000 00:00 0                          [heap]\n" +
		"7f0000000000-7f0000001000 rw-s 00000000 00:01 78                         /dev/zero (deleted)\n"
	if got := string(testView().maps([]byte(in))); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	smaps := "1f0000000000-1f0000001000 r-xp 00000000 00:00 0 \nRss: 4 kB\nAnonHugePages: 0 kB\n" +
		"400000-401000 r--p 00000000 00:01 77                         /memfd:x\nRss: 8 kB\nFilePmdMapped: 0 kB\nVmFlags: rd\n"
	want = `00400000-00401000 r--p 00000000 fe:00 326269                             /usr/lib/a b\012c.so` + "\nRss: 8 kB\nFilePmdMapped: 0 kB\nVmFlags: rd\n"
	if got := string(testView().maps([]byte(smaps))); got != want {
		t.Errorf("smaps: got\n%swant\n%s", got, want)
	}
}

// What the kernel prints of our own mappings must come out of appendMapping unchanged.
func TestMappingPrintedAsByKernel(t *testing.T) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		m, err := linux.ParseMappings([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if m[0].Ino == 0 {
			continue
		}
		n++
		if got := string(appendMapping(nil, m[0])); got != line {
			t.Errorf("got %q, kernel %q", got, line)
		}
	}
	if n == 0 {
		t.Error("no mapping of a file here")
	}
}

func TestNumaMapsAndRollup(t *testing.T) {
	maps := []linux.Mapping{{Start: 0x1f0000000000, End: 0x1f0000021000}, {Start: 0x55e8e353d000, End: 0x55e8e3541000, Dev: unix.Mkdev(0, 1), Ino: 77}}
	in := "1f0000000000 default anon=1\n55e8e353d000 default file=/memfd:homing-image\\040(deleted) dirty=2 N0=2\n"
	want := `55e8e353d000 default file=/usr/lib/a\040b\012c.so dirty=2 N0=2` + "\n"
	if got := string(testView().numaMaps([]byte(in), maps)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := string(testView().rollup([]byte("1f0000000000-7ffdca50b000 ---p 00000000 00:00 0  [rollup]\nRss: 1 kB\n"), maps))
	if want := "55e8e353d000-7ffdca50b000 ---p 00000000 00:00 0  [rollup]\nRss: 1 kB\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var testOverhead = overhead{code: 4, data: 128, resident: 40, peak: 9000}

// statLine numbers the fields of a stat file as proc_pid_stat(5) does, from base.
func statLine(head string, state byte, base int) string {
	b := append([]byte(head), ' ', state)
	for n := 4; n <= 52; n++ {
		b = fmt.Appendf(b, " %d", base+n)
	}
	return string(append(b, '\n'))
}

func TestStat(t *testing.T) {
	home, own := statLine("812 (a) b)", 't', 0), statLine("99 (homing-pod)", 'R', 1_000_000)
	got := strings.Fields(string(mergeStat(home, own, 0, testOverhead, protocol.CPUTime{User: 1e9, System: 2e7, MinFlt: 3})))
	want := strings.Fields(home)
	const first = 1 // the name has a blank in it
	for n, v := range map[int]string{
		3: "R", 10: "1000013", 12: "1000012", 14: "1000114", 15: "1000017", 23: "864855", 24: "1000014",
		31: "1000031", 32: "1000032", 33: "1000033", 34: "1000034", 39: "1000039",
	} {
		want[n-1+first] = v
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(mergeStat("nonsense", own, 0, testOverhead, protocol.CPUTime{})); got != "nonsense" {
		t.Errorf("nonsense became %q", got)
	}
}

func TestState(t *testing.T) {
	for _, c := range []struct{ home, own, known, want byte }{
		{'t', 'S', 0, 'S'}, {'S', 'R', 0, 'R'}, {'S', 'S', 'R', 'R'}, {'Z', 'R', 0, 'Z'}, {'D', 'S', 0, 'D'}, {'t', 't', 'T', 'T'},
	} {
		if got := mergeState(c.home, c.own, c.known); got != c.want {
			t.Errorf("home %c, here %c, known %c: %c, want %c", c.home, c.own, c.known, got, c.want)
		}
	}
}

func TestStatusText(t *testing.T) {
	home := "Name:\tcat\nState:\tt (tracing stop)\nTracerPid:\t55\nVmPeak:\t       4 kB\nVmSize:\t       4 kB\nVmHWM:\t       4 kB\nVmRSS:\t       4 kB\nVmLib:\t       4 kB\nSeccomp:\t0\nSigBlk:\t0000000000000000\nvoluntary_ctxt_switches:\t1\n"
	own := "Name:\thoming-pod\nState:\tS (sleeping)\nTracerPid:\t7\nVmPeak:\t    9000 kB\nVmSize:\t    3056 kB\nVmHWM:\t    1800 kB\nVmRSS:\t    1800 kB\nVmLib:\t    1532 kB\nSeccomp:\t2\nSigBlk:\t0000000000000800\nvoluntary_ctxt_switches:\t125\n"
	want := "Name:\tcat\nState:\tS (sleeping)\nTracerPid:\t0\nVmPeak:\t    2924 kB\nVmSize:\t    2924 kB\nVmHWM:\t    1760 kB\nVmRSS:\t    1760 kB\nVmLib:\t    1528 kB\nSeccomp:\t0\nSigBlk:\t0000000000000800\nvoluntary_ctxt_switches:\t125\n"
	if got := string(mergeStatus(home, own, 0, testOverhead)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := mergeStatus(home, own, 'R', testOverhead); !bytes.Contains(got, []byte("State:\tR (running)\n")) {
		t.Errorf("a reader of its own status is not running:\n%s", got)
	}
}

func TestStatm(t *testing.T) {
	if got, want := string(mergeStatm([]byte("764 451 414 5 0 121 0\n"), testOverhead)), "731 441 414 5 0 89 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSched(t *testing.T) {
	if got, want := string(mergeSched("cat (812, #threads: 1)\n---\n", []byte("homing-pod (99, #threads: 1)\n---\nse.x : 1\n"))), "cat (812, #threads: 1)\n---\nse.x : 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func openCall(nr uint32, path string) *syscallfwd.Call {
	c := &syscallfwd.Call{NR: nr, Data: append([]byte("??"+path), 0)}
	arg := 1
	if nr == unix.SYS_OPEN {
		arg = 0
	}
	c.Args[arg], c.ArgReloc = 2, 1<<arg
	return c
}

func TestDescribesProcess(t *testing.T) {
	for path, want := range map[string]bool{
		"/proc/self/maps": true, "maps": true, "/proc/1/task/2/stat": true, "x/../status": true, "/proc/self/mem": true,
		"": false, "/": false, "maps/": false, "/etc/passwd": false, "/proc/self/fd": false, "/proc/self/comm": false, "mapsx": false,
	} {
		for _, nr := range []uint32{unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2} {
			if got := describesProcess(openCall(nr, path)); got != want {
				t.Errorf("call %d of %q: %v", nr, path, got)
			}
		}
	}
	bad := openCall(unix.SYS_OPENAT, "maps")
	bad.ArgReloc = 0
	if describesProcess(bad) {
		t.Error("a pointer that could not be read names a file")
	}
}

func BenchmarkDescribesProcess(b *testing.B) {
	call := openCall(unix.SYS_OPENAT, "/usr/include/x86_64-linux-gnu/bits/types.h")
	for b.Loop() {
		if describesProcess(call) {
			b.Fatal("it does not")
		}
	}
}

func TestMonotonicTimes(t *testing.T) {
	var a accounts
	steps := []struct{ in, want protocol.CPUTime }{
		{protocol.CPUTime{User: 10, System: 5}, protocol.CPUTime{User: 10, System: 5}},
		{protocol.CPUTime{User: 16, System: 0}, protocol.CPUTime{User: 11, System: 5}},
		{protocol.CPUTime{User: 5, System: 12}, protocol.CPUTime{User: 11, System: 6}},
		{protocol.CPUTime{User: 5, System: 12}, protocol.CPUTime{User: 11, System: 6}},
	}
	for i, s := range steps {
		if got := a.monotonic(1, s.in); got != s.want {
			t.Errorf("step %d: %+v, want %+v", i, got, s.want)
		}
	}
	a.forget(1)
	if len(a.told) != 0 {
		t.Error("an ended body is remembered")
	}
}

func TestFinalAccountsAreBounded(t *testing.T) {
	var a accounts
	a.carry(3, protocol.CPUTime{User: 7e9, MaxRSS: 900})
	for pid := range 3 * keepFinal {
		a.end(pid, &unix.Rusage{Utime: unix.Timeval{Sec: 1}, Maxrss: 100})
		if pid == 3 {
			if got := a.ended(3); got.User != 8e9 || got.MaxRSS != 900 {
				t.Errorf("earlier bodies not counted: %+v", got)
			}
		}
	}
	if len(a.final) != keepFinal || len(a.order) != keepFinal || len(a.earlier) != 0 {
		t.Errorf("%d, %d, %d kept", len(a.final), len(a.order), len(a.earlier))
	}
}

func TestOwnTimes(t *testing.T) {
	pid := os.Getpid()
	now := timeOf(pid, 0)
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	sum, want := now.User+now.System, ru.Utime.Nano()+ru.Stime.Nano()
	if sum <= 0 || sum > want+1e6 || sum < want-50e6 {
		t.Errorf("%d ns by the clock, %d by getrusage", sum, want)
	}
}

func TestTimerOverruns(t *testing.T) {
	info := func(id, n int32) *linux.Siginfo {
		var si linux.Siginfo
		code := int32(siTimer)
		binary.LittleEndian.PutUint32(si[8:], uint32(code))
		binary.LittleEndian.PutUint32(si[16:], uint32(id))
		binary.LittleEndian.PutUint32(si[20:], uint32(n))
		return &si
	}
	var ts timerSignals
	if ts.taken(info(1, 4)) {
		t.Error("nothing was missed")
	}
	ts.pending, ts.missed, ts.last = map[int32]bool{1: true}, map[int32]int32{1: 3}, map[int32]int32{}
	si := info(1, 4)
	if !ts.taken(si) || overrun(si) != 7 || ts.last[1] != 3 || ts.pending[1] {
		t.Errorf("overrun %d, last %v, pending %v", overrun(si), ts.last, ts.pending)
	}
	if ts.taken(info(firstCPUTimer, 4)) {
		t.Error("a timer of the body's own kernel is not ours to count")
	}
}

func TestLimitsLeaveRoomForUs(t *testing.T) {
	add := func(v uint64) uint64 { return v + 10 }
	if got := mapLimit(unix.Rlimit{Cur: 5, Max: unix.RLIM_INFINITY}, add); got != (unix.Rlimit{Cur: 15, Max: unix.RLIM_INFINITY}) {
		t.Errorf("%+v", got)
	}
}
