package linux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMappings(t *testing.T) {
	const text = `55d0c4e00000-55d0c4e02000 r--p 00001000 fe:01 1234                       /usr/bin/a b
7fff00000000-7fff00001000 rw-s 00000000 00:05 42                         /dev/zero (deleted)
7fff00001000-7fff00002000 ---p 00000000 00:00 0
7fff00002000-7fff00003000 rwxp 00000000 00:00 0                          [stack]
7fff00003000-7fff00004000 r-xp 00000000 00:1f 7                          /tmp/a\012b
`
	got, err := ParseMappings([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Mapping{
		{0x55d0c4e00000, 0x55d0c4e02000, unix.PROT_READ, false, 0x1000, unix.Mkdev(0xfe, 1), 1234, "/usr/bin/a b"},
		{0x7fff00000000, 0x7fff00001000, unix.PROT_READ | unix.PROT_WRITE, true, 0, unix.Mkdev(0, 5), 42, "/dev/zero (deleted)"},
		{0x7fff00001000, 0x7fff00002000, 0, false, 0, 0, 0, ""},
		{0x7fff00002000, 0x7fff00003000, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC, false, 0, 0, 0, "[stack]"},
		{0x7fff00003000, 0x7fff00004000, unix.PROT_READ | unix.PROT_EXEC, false, 0, unix.Mkdev(0, 0x1f), 7, "/tmp/a\nb"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d mappings, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	for _, bad := range []string{"x", "1-2", "1-2 rwxp", "g-2 rwxp 0 00:00 0", "1-2 rwxp 0 00:00 x", "-2 rwxp 0 00:00 0", "\n"} {
		if _, err := ParseMappings([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func FuzzParseMappings(f *testing.F) {
	f.Add([]byte("55d0c4e00000-55d0c4e02000 r--p 00001000 fe:01 1234                       /usr/bin/env\n"))
	f.Add([]byte("1-2 ---s 0 0:0 0"))
	if own, err := os.ReadFile("/proc/self/maps"); err == nil {
		f.Add(own)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		maps, err := ParseMappings(b)
		if err == nil && len(maps) > strings.Count(string(b), "\n")+1 {
			t.Errorf("%d mappings from %q", len(maps), b)
		}
	})
}

func TestMappingsOfSelf(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	maps, err := Mappings(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	at := address(mem)
	for _, m := range maps {
		if m.Start == at {
			if m.End != at+3*4096 || !m.Shared || m.Prot != unix.PROT_READ|unix.PROT_WRITE || !strings.HasPrefix(m.Path, "/dev/zero") {
				t.Errorf("shared memory shows as %+v", m)
			}
			return
		}
	}
	t.Errorf("mapping at %#x not found", at)
}

func TestReadStat(t *testing.T) {
	s, err := ReadStat("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if s.PPID != os.Getppid() || s.PGRP != unix.Getpgrp() || s.State != 'R' && s.State != 'S' || s.NumThreads < 1 {
		t.Errorf("own stat reads as %+v", s)
	}
	if s.StartStack == 0 || s.ArgStart == 0 || s.ArgEnd <= s.ArgStart || s.EnvStart < s.ArgEnd || s.StartTime == 0 {
		t.Errorf("own layout reads as %+v", s)
	}

	// A name may hold anything (prctl(2), PR_SET_NAME).
	rest := " T 11 12 13" + strings.Repeat(" 0", 13) + " 9" + strings.Repeat(" 0", 5) + " 18446744073709551615" + strings.Repeat(" 1", 26)
	name := filepath.Join(t.TempDir(), "stat")
	for _, comm := range []string{"plain", "a) R 1 (b", "x y\nz", ""} {
		if err := os.WriteFile(name, []byte("7 ("+comm+")"+rest+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := ReadStat(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Comm != comm || s.State != 'T' || s.PPID != 11 || s.PGRP != 12 || s.Session != 13 || s.NumThreads != 9 || s.StartCode != 1<<64-1 {
			t.Errorf("%q: read as %+v", comm, s)
		}
	}
	for _, bad := range []string{"", "7 (x", "7 (x) R 1 2", ")("} {
		if err := os.WriteFile(name, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadStat(name); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestReadStatus(t *testing.T) {
	s, err := ReadStatus(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The Go runtime has handlers for nearly everything.
	if sigterm := uint64(1) << (unix.SIGTERM - 1); (s.SigCgt|s.SigIgn)&sigterm == 0 {
		t.Errorf("own status reads as %+v", s)
	}
}
