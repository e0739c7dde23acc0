package linux

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// VMFlags are properties of a mapping that /proc/PID/maps does not show, from
// VmFlags of /proc/PID/smaps, see proc_pid_smaps(5).
type VMFlags uint32

// Those that matter here, with the kernel's two letters.
const (
	VMGrowsDown   VMFlags = 1 << iota // gd
	VMLocked                          // lo
	VMLockOnFault                     // lf
	VMAccount                         // ac: counts for overcommit
	VMNoReserve                       // nr
	VMHugePage                        // hg
	VMNoHugePage                      // nh
	VMDontCopy                        // dc: MADV_DONTFORK
	VMWipeOnFork                      // wf
	VMDontDump                        // dd
	VMMergeable                       // mg
	VMSequential                      // sr
	VMRandom                          // rr
	VMHugeTLB                         // ht
	VMSealed                          // sl
	VMShadowStack                     // ss
	VMDevice                          // io, pf
	VMUserfault                       // um, uw, ui

	VMAll = VMUserfault<<1 - 1
)

var vmFlagNames = map[string]VMFlags{
	"gd": VMGrowsDown, "lo": VMLocked, "lf": VMLockOnFault, "ac": VMAccount, "nr": VMNoReserve,
	"hg": VMHugePage, "nh": VMNoHugePage, "dc": VMDontCopy, "wf": VMWipeOnFork, "dd": VMDontDump,
	"mg": VMMergeable, "sr": VMSequential, "rr": VMRandom, "ht": VMHugeTLB, "sl": VMSealed,
	"ss": VMShadowStack, "io": VMDevice, "pf": VMDevice, "um": VMUserfault, "uw": VMUserfault, "ui": VMUserfault,
}

// MappingFlags are the flags of one mapping.
type MappingFlags struct {
	Start, End uint64
	Flags      VMFlags
	Key        int // of protection, see pkeys(7)
}

// ReadMappingFlags reads /proc/PID/smaps. The kernel looks at every page for
// it: about 4 ms for 1 GiB of small ones.
func ReadMappingFlags(pid int) ([]MappingFlags, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps")
	if err != nil {
		return nil, err
	}
	return ParseMappingFlags(b)
}

// MayWrite tells whether a mapping that begins at start could be made writable:
// not if it is shared and of a descriptor for reading.
func MayWrite(pid int, start uint64) (bool, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps")
	if err != nil {
		return false, err
	}
	head := []byte(fmt.Sprintf("\n%08x-", start))
	at := bytes.Index(append([]byte("\n"), b...), head)
	if at < 0 {
		return false, fmt.Errorf("process %d has no mapping at %#x", pid, start)
	}
	_, flags, _ := bytes.Cut(b[at:], []byte("\nVmFlags:"))
	flags, _, _ = bytes.Cut(flags, []byte("\n"))
	return bytes.Contains(flags, []byte(" mw")), nil
}

// ParseMappingFlags parses the text of /proc/PID/smaps.
func ParseMappingFlags(b []byte) ([]MappingFlags, error) {
	var out []MappingFlags
	for line := range bytes.Lines(b) {
		if c := line[0]; c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			var m MappingFlags
			rest, ok := line, false
			if m.Start, rest, ok = hexUntil(rest, '-'); ok {
				m.End, _, ok = hexUntil(rest, ' ')
			}
			if !ok {
				return nil, fmt.Errorf("smaps: cannot read %q", line)
			}
			out = append(out, m)
			continue
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("smaps: cannot read %q", line)
		}
		m := &out[len(out)-1]
		if flags, ok := bytes.CutPrefix(line, []byte("VmFlags:")); ok {
			for name := range strings.FieldsSeq(string(flags)) {
				m.Flags |= vmFlagNames[name]
			}
		} else if key, ok := bytes.CutPrefix(line, []byte("ProtectionKey:")); ok {
			var err error
			if m.Key, err = strconv.Atoi(string(bytes.TrimSpace(key))); err != nil {
				return nil, fmt.Errorf("smaps: cannot read %q", line)
			}
		}
	}
	return out, nil
}
