package linux

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mapping is one line of /proc/PID/maps, see proc_pid_maps(5).
type Mapping struct {
	Start, End uint64
	Prot       int  // PROT_*
	Shared     bool // MAP_SHARED
	Offset     uint64
	Dev        uint64
	Ino        uint64
	Path       string // as printed: may carry " (deleted)"; pseudo names as [heap]
}

// Mappings reads /proc/PID/maps.
func Mappings(pid int) ([]Mapping, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return nil, err
	}
	return ParseMappings(b)
}

// ParseMappings parses the text of /proc/PID/maps.
func ParseMappings(b []byte) ([]Mapping, error) {
	out := make([]Mapping, 0, bytes.Count(b, []byte{'\n'}))
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		m, ok := parseMapping(line)
		if !ok {
			return nil, fmt.Errorf("maps: cannot read %q", line)
		}
		out = append(out, m)
	}
	return out, nil
}

func hexUntil(b []byte, end byte) (v uint64, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == end:
			return v, b[i+1:], i > 0
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, nil, false
		}
	}
	return v, nil, end == 0
}

func parseMapping(b []byte) (m Mapping, ok bool) {
	if m.Start, b, ok = hexUntil(b, '-'); !ok {
		return m, false
	}
	if m.End, b, ok = hexUntil(b, ' '); !ok || len(b) < 5 {
		return m, false
	}
	if b[0] == 'r' {
		m.Prot |= unix.PROT_READ
	}
	if b[1] == 'w' {
		m.Prot |= unix.PROT_WRITE
	}
	if b[2] == 'x' {
		m.Prot |= unix.PROT_EXEC
	}
	m.Shared = b[3] == 's'
	var major, minor uint64
	if m.Offset, b, ok = hexUntil(b[5:], ' '); !ok {
		return m, false
	}
	if major, b, ok = hexUntil(b, ':'); !ok {
		return m, false
	}
	if minor, b, ok = hexUntil(b, ' '); !ok {
		return m, false
	}
	m.Dev = unix.Mkdev(uint32(major), uint32(minor))
	i := 0
	for i < len(b) && b[i] != ' ' {
		if b[i] < '0' || b[i] > '9' {
			return m, false
		}
		m.Ino = m.Ino*10 + uint64(b[i]-'0')
		i++
	}
	m.Path = string(bytes.TrimLeft(b[i:], " "))
	if strings.Contains(m.Path, `\012`) {
		m.Path = strings.ReplaceAll(m.Path, `\012`, "\n")
	}
	return m, true
}

// Stat are the fields of /proc/PID/stat used here, see proc_pid_stat(5).
type Stat struct {
	Comm                               string
	State                              byte
	PPID, PGRP, Session                int
	Flags                              uint64 // PF_* of the kernel
	UTime, STime                       uint64 // clock ticks
	NumThreads                         int
	StartTime                          uint64
	StartCode, EndCode, StartStack     uint64
	StartData, EndData, StartBrk       uint64
	ArgStart, ArgEnd, EnvStart, EnvEnd uint64
}

// KernelThread is PF_KTHREAD in Stat.Flags.
const KernelThread = 0x00200000

// ReadStat reads /proc/PID/stat (or /proc/PID/task/TID/stat if given that path).
func ReadStat(path string) (Stat, error) {
	var s Stat
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("%s: malformed", path)
	}
	s.Comm = string(b[open+1 : end])
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 50 {
		return s, fmt.Errorf("%s: %d fields, want 50", path, len(f))
	}
	num := func(field int) uint64 { // numbered as in proc_pid_stat(5)
		if u, err := strconv.ParseUint(f[field-3], 10, 64); err == nil {
			return u
		}
		v, _ := strconv.ParseInt(f[field-3], 10, 64) // printed by the kernel
		return uint64(v)
	}
	s.State = f[0][0]
	s.PPID, s.PGRP, s.Session = int(num(4)), int(num(5)), int(num(6))
	s.Flags = num(9)
	s.UTime, s.STime = num(14), num(15)
	s.NumThreads, s.StartTime = int(num(20)), num(22)
	s.StartCode, s.EndCode, s.StartStack = num(26), num(27), num(28)
	s.StartData, s.EndData, s.StartBrk = num(45), num(46), num(47)
	s.ArgStart, s.ArgEnd, s.EnvStart, s.EnvEnd = num(48), num(49), num(50), num(51)
	return s, nil
}

// Status are fields of /proc/PID/task/TID/status, see proc_pid_status(5).
type Status struct {
	SigPnd, ShdPnd, SigBlk, SigIgn, SigCgt uint64
}

// ReadStatus reads the signal sets of a thread.
func ReadStatus(tid int) (Status, error) {
	var s Status
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return s, err
	}
	for _, f := range []struct {
		name string
		to   *uint64
	}{{"\nSigPnd:\t", &s.SigPnd}, {"\nShdPnd:\t", &s.ShdPnd}, {"\nSigBlk:\t", &s.SigBlk}, {"\nSigIgn:\t", &s.SigIgn}, {"\nSigCgt:\t", &s.SigCgt}} {
		i := bytes.Index(b, []byte(f.name))
		if i < 0 || len(b) < i+len(f.name)+16 {
			return s, fmt.Errorf("/proc/%d/status: no %q", tid, strings.TrimSpace(f.name))
		}
		*f.to, err = strconv.ParseUint(string(b[i+len(f.name):i+len(f.name)+16]), 16, 64)
		if err != nil {
			return s, err
		}
	}
	return s, nil
}
