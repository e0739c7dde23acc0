package transfer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Tracker tells which pages of a running process are written. The process is
// not stopped for it; it pays about a microsecond for the first write to each
// page in a round.
type Tracker struct {
	pid     int
	fd      int // the userfaultfd
	pagemap *os.File
	hidden  []linux.Range
	refused []linux.Range // mappings that cannot be tracked
}

// NewTracker tracks the private memory of a process but for what is hidden (our
// own), with a userfaultfd made in it. It takes the descriptor over.
func NewTracker(pid int, u Userfault, hidden []linux.Range) (*Tracker, error) {
	t := &Tracker{pid: pid, fd: u.FD, hidden: sorted(slices.Clone(hidden))}
	if err := handshakeTrack(u.FD); err != nil {
		closeFD(u.FD)
		return nil, err
	}
	var err error
	if t.pagemap, err = os.Open("/proc/" + strconv.Itoa(pid) + "/pagemap"); err != nil {
		closeFD(u.FD)
		return nil, fmt.Errorf("open pagemap of process %d: %w", pid, err)
	}
	return t, nil
}

// Disarm ends tracking: the process's mappings are as they were before.
func (t *Tracker) Disarm() {
	closeFD(t.fd)
	t.fd = -1
	_ = t.pagemap.Close() // nothing is buffered
}

// tracked are the mappings whose pages are private to the process.
func (t *Tracker) tracked() ([]linux.Mapping, error) {
	maps, err := linux.Mappings(t.pid)
	if err != nil {
		return nil, fmt.Errorf("read mappings of process %d: %w", t.pid, err)
	}
	return slices.DeleteFunc(maps, func(m linux.Mapping) bool {
		return m.Shared || strings.HasPrefix(m.Path, "[v") || // [vdso], [vvar], [vsyscall]
			len(overlapping(t.hidden, linux.Range{Start: m.Start, End: m.End})) > 0
	}), nil
}

const (
	// Pages with contents of their own: what checkpoint.Image.Pages has, too.
	ownMask  = linux.PageIsFile | linux.PageIsPFNZero
	ownAnyOf = linux.PageIsPresent | linux.PageIsSwapped
)

func (t *Tracker) scan(r linux.Range, s linux.PageScan, out []linux.PageRegion) ([]linux.PageRegion, error) {
	out, err := linux.ScanPagesFor(int(t.pagemap.Fd()), r, s, out)
	if err != nil {
		return out, fmt.Errorf("scan pages of process %d: %w", t.pid, err)
	}
	return out, nil
}

// Dirty returns the pages that were written since it was called last, all of
// them the first time, and from now on watches for writes to them. What is read
// after it has returned is either what the next call finds unwritten, or is
// named by it. After an error nothing can be relied on any more.
func (t *Tracker) Dirty() (pages []linux.Range, bytes uint64, err error) {
	maps, err := t.tracked()
	if err != nil {
		return nil, 0, err
	}
	var found []linux.PageRegion
	for _, m := range maps {
		r := linux.Range{Start: m.Start, End: m.End}
		// What is tracked, and was written.
		found, err = t.scan(r, linux.PageScan{
			Protect: true, AnyOf: ownAnyOf, Inverted: ownMask, Mask: ownMask | linux.PageIsWritten,
		}, found[:0])
		if err != nil {
			return nil, 0, err
		}
		for _, f := range found {
			pages = appendAny(pages, linux.Range{Start: f.Start, End: f.End})
		}
		more, err := t.begin(r)
		if err != nil {
			return nil, 0, err
		}
		pages = append(pages, more...)
	}
	pages = sorted(pages)
	return pages, length(pages), nil
}

// begin starts to track a mapping if it is not tracked, and returns its pages.
// What the kernel does not track is left to the final round.
func (t *Tracker) begin(r linux.Range) ([]linux.Range, error) {
	const mask = ownMask | linux.PageIsWPAllowed
	found, err := t.scan(r, linux.PageScan{AnyOf: ownAnyOf, Inverted: mask, Mask: mask}, nil)
	if err != nil || len(found) == 0 || contains(t.refused, r) {
		return nil, err
	}
	if err := linux.UserfaultRegister(t.fd, r, linux.UserfaultWriteProtect); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil, fmt.Errorf("track memory of process %d: %w", t.pid, err)
		}
		// It has a userfaultfd of its own there, or has unmapped it.
		t.refused = union(t.refused, []linux.Range{r})
		return nil, nil
	}
	// Everything that is there now: the mapping may be another than before.
	found, err = t.scan(r, linux.PageScan{Protect: true, AnyOf: ownAnyOf, Inverted: ownMask, Mask: ownMask}, found[:0])
	if err != nil {
		return nil, err
	}
	var out []linux.Range
	for _, f := range found {
		out = appendAny(out, linux.Range{Start: f.Start, End: f.End})
	}
	return out, nil
}

// Rest returns how many bytes Dirty would name, without disturbing anything,
// and those in mappings that cannot be tracked.
func (t *Tracker) Rest() (uint64, error) {
	maps, err := t.tracked()
	if err != nil {
		return 0, err
	}
	var found []linux.PageRegion
	n := uint64(0)
	for _, m := range maps {
		found, err = t.scan(linux.Range{Start: m.Start, End: m.End}, linux.PageScan{
			AnyOf: ownAnyOf, Inverted: ownMask, Mask: ownMask, Return: linux.PageIsWritten | linux.PageIsWPAllowed,
		}, found[:0])
		if err != nil {
			return 0, err
		}
		for _, f := range found {
			if f.Categories&linux.PageIsWritten != 0 || f.Categories&linux.PageIsWPAllowed == 0 {
				n += f.End - f.Start
			}
		}
	}
	return n, nil
}

// clean returns the pages of the process, now stopped, that were not written
// since Dirty was called last.
func (t *Tracker) clean() ([]linux.Range, error) {
	maps, err := t.tracked()
	if err != nil {
		return nil, err
	}
	var found []linux.PageRegion
	var out []linux.Range
	for _, m := range maps {
		s := linux.PageScan{
			AnyOf: ownAnyOf, Inverted: linux.PageIsWritten | ownMask,
			Mask: linux.PageIsWPAllowed | linux.PageIsWritten | ownMask,
		}
		if m.Ino != 0 {
			// A page that was given up shows the file again, and the mark that
			// the kernel leaves in its place looks like one swapped out.
			s.AnyOf = linux.PageIsPresent
		}
		if found, err = t.scan(linux.Range{Start: m.Start, End: m.End}, s, found[:0]); err != nil {
			return nil, err
		}
		for _, f := range found {
			out = appendRange(out, linux.Range{Start: f.Start, End: f.End})
		}
	}
	return out, nil
}
