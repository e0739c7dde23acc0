package checkpoint

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

// Found are the pieces of shared anonymous memory that FindShared has looked
// at, by object.
type Found map[uint64][]linux.Range

const madvPopulateRead = 22

// FindShared makes a stopped process have all pages that there are of the shared
// anonymous memory which it maps. Who wrote them may have ended, or have been
// another process; in this one's page table, where CaptureMemory looks, they
// need not be. What has been found in another process of the group is left out.
func FindShared(tid int, body *tracer.Body, maps []linux.Mapping, found Found) error {
	scratch := body.Table + uint64(body.Size)
	const step = minScratch * PageSize // mincore(2) gives a byte for each page
	for _, m := range maps {
		if !m.Shared || !IsSharedObject(m.Path) || m.Prot&unix.PROT_READ == 0 {
			continue
		}
		for _, r := range found.add(m) {
			for at := r.Start; at < r.End; at += step {
				size := min(step, r.End-at)
				if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_MINCORE, at, size, scratch)}); err != nil {
					return fmt.Errorf("look for shared memory at %#x: %w", at, err)
				}
				there := make([]byte, size/PageSize)
				if err := body.ReadScratch(tid, there); err != nil {
					return err
				}
				if err := populate(tid, body, at, there); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add returns the parts of a mapping whose object has not been looked at there.
func (f Found) add(m linux.Mapping) []linux.Range {
	rest := []linux.Range{{Start: m.Offset, End: m.Offset + m.End - m.Start}}
	for _, done := range f[m.Ino] {
		var left []linux.Range
		for _, r := range rest {
			if done.End <= r.Start || done.Start >= r.End {
				left = append(left, r)
				continue
			}
			if r.Start < done.Start {
				left = append(left, linux.Range{Start: r.Start, End: done.Start})
			}
			if r.End > done.End {
				left = append(left, linux.Range{Start: done.End, End: r.End})
			}
		}
		rest = left
	}
	f[m.Ino] = append(f[m.Ino], rest...)
	at := make([]linux.Range, len(rest))
	for i, r := range rest {
		at[i] = linux.Range{Start: m.Start + r.Start - m.Offset, End: m.Start + r.End - m.Offset}
	}
	return at
}

// populate maps the pages that are there; all, if some may be in swap space,
// which mincore(2) does not tell.
func populate(tid int, body *tracer.Body, start uint64, there []byte) error {
	var si unix.Sysinfo_t
	swapped := unix.Sysinfo(&si) != nil || si.Freeswap != si.Totalswap
	var calls []tracer.Call
	for i := 0; i < len(there); {
		if there[i]&1 == 0 && !swapped {
			i++
			continue
		}
		j := i + 1
		for j < len(there) && (there[j]&1 != 0 || swapped) {
			j++
		}
		calls = append(calls, tracer.C(unix.SYS_MADVISE, start+uint64(i)*PageSize, uint64(j-i)*PageSize, madvPopulateRead))
		i = j
	}
	if len(calls) == 0 {
		return nil
	}
	_, err := body.Inject(tid, calls)
	if errors.Is(err, unix.EFAULT) { // behind the end of the object
		err = nil
	}
	if err != nil {
		return fmt.Errorf("shared memory at %#x: %w", start, err)
	}
	return nil
}
