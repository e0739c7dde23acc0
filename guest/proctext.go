package guest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/checkpoint"
	"homing/internal/linux"
	"homing/internal/protocol"
)

// procView turns this node's text about a body into the guest's own.
type procView struct {
	hidden linux.Range // ours
	origin func(dev, ino uint64) (checkpoint.File, bool)
}

// overhead is the part of a body's memory that is ours, in KiB.
type overhead struct {
	code, data, resident uint64
	peak                 uint64 // VmPeak when the program began: of another one
	imagesInMemory       bool   // pages of mapped files count as shared memory here
}

func (o overhead) size() uint64 { return o.code + o.data }

// maps rewrites /proc/PID/maps, or smaps, whose mappings start with the same lines.
func (v *procView) maps(text []byte) []byte {
	out := make([]byte, 0, len(text))
	skip := false
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line = text[:i+1]
		}
		text = text[len(line):]
		if c := line[0]; c < '0' || c > 'f' || c > '9' && c < 'a' { // smaps: "Rss: …", belongs to the mapping above
			if !skip {
				out = append(out, line...)
			}
			continue
		}
		parsed, err := linux.ParseMappings(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil || len(parsed) != 1 {
			out = append(out, line...)
			continue
		}
		m := parsed[0]
		if skip = m.Start < v.hidden.End && v.hidden.Start < m.End; skip {
			continue
		}
		f, ok := v.file(m)
		if !ok {
			out = append(out, line...)
			continue
		}
		m.Dev, m.Ino, m.Path = f.Dev, f.Ino, f.Path
		out = appendMapping(out, m)
	}
	return out
}

func (v *procView) file(m linux.Mapping) (checkpoint.File, bool) {
	if m.Ino == 0 {
		return checkpoint.File{}, false
	}
	return v.origin(m.Dev, m.Ino)
}

// appendMapping prints a mapping of a file as the kernel does, show_map_vma in
// fs/proc/task_mmu.c: the name begins in column 73.
func appendMapping(b []byte, m linux.Mapping) []byte {
	perm := []byte("---p")
	for i, bit := range []int{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if m.Prot&bit != 0 {
			perm[i] = "rwx"[i]
		}
	}
	if m.Shared {
		perm[3] = 's'
	}
	head := fmt.Sprintf("%08x-%08x %s %08x %02x:%02x %d ", m.Start, m.End, perm, m.Offset, unix.Major(m.Dev), unix.Minor(m.Dev), m.Ino)
	b = append(b, head...)
	const column = 73
	for i := len(head); i < column; i++ {
		b = append(b, ' ')
	}
	b = append(b, strings.ReplaceAll(m.Path, "\n", `\012`)...)
	return append(b, '\n')
}

// numaMaps rewrites /proc/PID/numa_maps: "ADDRESS POLICY file=NAME …".
func (v *procView) numaMaps(text []byte, maps []linux.Mapping) []byte {
	at := make(map[uint64]linux.Mapping, len(maps))
	for _, m := range maps {
		at[m.Start] = m
	}
	escape := strings.NewReplacer("\n", `\012`, "\t", `\011`, " ", `\040`, "=", `\075`)
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		head, _, _ := strings.Cut(line, " ")
		addr, err := strconv.ParseUint(head, 16, 64)
		if err != nil {
			out.WriteString(line)
			continue
		}
		if addr >= v.hidden.Start && addr < v.hidden.End {
			continue
		}
		if f, ok := v.file(at[addr]); ok {
			words := strings.Split(line, " ")
			for i, w := range words {
				if strings.HasPrefix(w, "file=") {
					words[i] = "file=" + escape.Replace(f.Path)
				}
			}
			line = strings.Join(words, " ")
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}

// rollup corrects the address range of /proc/PID/smaps_rollup.
func (v *procView) rollup(text []byte, maps []linux.Mapping) []byte {
	for _, m := range maps {
		if m.Start < v.hidden.End && v.hidden.Start < m.End {
			continue
		}
		if _, rest, ok := bytes.Cut(text, []byte("-")); ok {
			return append(fmt.Appendf(nil, "%08x-", m.Start), rest...)
		}
		break
	}
	return text
}

// mergeStatm takes what is ours out of /proc/PID/statm, which counts pages:
// size resident shared text lib data dt.
func mergeStatm(own []byte, o overhead) []byte {
	f := strings.Fields(string(own))
	if len(f) != 7 {
		return own
	}
	const page = checkpoint.PageSize / 1024
	for i, less := range map[int]uint64{0: o.size(), 1: o.resident, 5: o.data} {
		f[i] = lessThan(f[i], less/page)
	}
	return []byte(strings.Join(f, " ") + "\n")
}

// lessThan subtracts from a decimal number.
func lessThan(s string, less uint64) string {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return s
	}
	return strconv.FormatUint(v-min(v, less), 10)
}

// mergeStat joins /proc/PID/stat of the shadow and of the body, fields as
// numbered in proc_pid_stat(5): identity is home's, what was done and where
// memory lies is the body's.
func mergeStat(home, own string, state byte, o overhead, earlier protocol.CPUTime) []byte {
	head, hf, ok := splitStat(home)
	_, of, ok2 := splitStat(own)
	if !ok || !ok2 {
		return []byte(home)
	}
	const first = 3
	take := func(fields ...int) {
		for _, n := range fields {
			if i := n - first; i < len(hf) && i < len(of) {
				hf[i] = of[i]
			}
		}
	}
	hf[0] = string(mergeState(hf[0][0], of[0][0], state))
	take(10, 12, 14, 15) // minflt majflt utime stime
	take(23, 24)         // vsize rss
	take(31, 32, 33, 34) // signal blocked sigignore sigcatch
	take(39)             // processor
	add := func(n int, v int64) {
		if u, err := strconv.ParseInt(hf[n-first], 10, 64); err == nil {
			hf[n-first] = strconv.FormatInt(u+v, 10)
		}
	}
	add(10, earlier.MinFlt)
	add(12, earlier.MajFlt)
	add(14, earlier.User/tick)
	add(15, earlier.System/tick)
	hf[23-first] = lessThan(hf[23-first], o.size()*1024)
	hf[24-first] = lessThan(hf[24-first], o.resident*1024/checkpoint.PageSize)
	return []byte(head + " " + strings.Join(hf, " ") + "\n")
}

func splitStat(s string) (head string, fields []string, ok bool) {
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return "", nil, false
	}
	fields = strings.Fields(s[i+1:])
	return s[:i+1], fields, len(fields) >= 50
}

// mergeState is a thread's state: the shadow waits where the body waits for a
// call; ptrace stops are ours.
func mergeState(home, own, known byte) byte {
	switch {
	case known != 0:
		return known
	case home == 'Z' || home == 'X' || home == 'T':
		return home
	case own == 'R':
		return 'R'
	case home == 't':
		return 'S'
	}
	return home
}

var stateNames = map[byte]string{
	'R': "R (running)", 'S': "S (sleeping)", 'D': "D (disk sleep)", 'T': "T (stopped)",
	'Z': "Z (zombie)", 'X': "X (dead)", 'I': "I (idle)",
}

// bodyStatus are the lines of /proc/PID/status that speak of the body.
var bodyStatus = map[string]bool{
	"VmPeak": true, "VmSize": true, "VmLck": true, "VmPin": true, "VmHWM": true, "VmRSS": true,
	"RssAnon": true, "RssFile": true, "RssShmem": true, "VmData": true, "VmStk": true, "VmExe": true, "VmLib": true,
	"VmPTE": true, "VmSwap": true, "HugetlbPages": true,
	"SigPnd": true, "ShdPnd": true, "SigBlk": true, "SigIgn": true, "SigCgt": true,
	"voluntary_ctxt_switches": true, "nonvoluntary_ctxt_switches": true,
}

// mergeStatus joins /proc/PID/status of the shadow and of the body.
func mergeStatus(home, own string, state byte, o overhead) []byte {
	mine := map[string]string{}
	for line := range strings.Lines(own) {
		key, val, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		mine[key] = strings.TrimLeft(val, "\t ")
	}
	o.hide(mine)
	var out strings.Builder
	for line := range strings.Lines(home) {
		key, val, _ := strings.Cut(line, ":")
		v, known := mine[key]
		switch {
		case key == "State":
			was := strings.TrimLeft(val, "\t ")
			if was == "" || v == "" {
				out.WriteString(line)
				continue
			}
			now := mergeState(was[0], v[0], state)
			if name, ok := stateNames[now]; ok {
				line = "State:\t" + name + "\n"
			}
			out.WriteString(line)
		case key == "TracerPid":
			out.WriteString("TracerPid:\t0\n") // a debugger would not have let it leave
		case !known || !bodyStatus[key]:
			out.WriteString(line)
		case strings.HasSuffix(v, " kB"):
			fmt.Fprintf(&out, "%s:\t%8s kB\n", key, strings.TrimSpace(strings.TrimSuffix(v, " kB")))
		default:
			out.WriteString(key + ":\t" + v + "\n")
		}
	}
	return []byte(out.String())
}

// hide takes what is ours out of the memory figures of a status file. The peak
// of a body's size starts with what it was before its program; unless it has
// grown since it says nothing.
func (o overhead) hide(status map[string]string) {
	get := func(key string) (uint64, bool) {
		v, err := strconv.ParseUint(strings.TrimSuffix(status[key], " kB"), 10, 64)
		return v, err == nil
	}
	for key, less := range map[string]uint64{
		"VmPeak": o.size(), "VmSize": o.size(), "VmHWM": o.resident, "VmRSS": o.resident, "RssAnon": o.resident,
		"VmData": o.data, "VmLib": o.code,
	} {
		if v, ok := get(key); ok {
			if key == "VmPeak" && v <= o.peak {
				v = 0
			}
			status[key] = strconv.FormatUint(v-min(v, less), 10) + " kB"
		}
	}
	if file, ok := get("RssFile"); ok && o.imagesInMemory {
		shmem, _ := get("RssShmem")
		status["RssFile"], status["RssShmem"] = strconv.FormatUint(file+shmem, 10)+" kB", "0 kB"
	}
	for peak, now := range map[string]string{"VmPeak": "VmSize", "VmHWM": "VmRSS"} {
		p, ok := get(peak)
		n, ok2 := get(now)
		if ok && ok2 && p < n {
			status[peak] = status[now]
		}
	}
}

// mergeSched puts home's first line, which names the thread, before the rest.
func mergeSched(home string, own []byte) []byte {
	first, _, ok := strings.Cut(home, "\n")
	_, rest, ok2 := bytes.Cut(own, []byte("\n"))
	if !ok || !ok2 {
		return own
	}
	return append([]byte(first+"\n"), rest...)
}
