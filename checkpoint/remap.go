package checkpoint

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

// Pre-copy builds a body before the process stands still: by then it may have
// mapped and unmapped. Remap changes what has been built into what is wanted and
// keeps the contents of all that did not change.

// Remap makes of a target, in which RestoreMemory or Remap has built the
// mappings of another image of the same process, one with the mappings of this
// image. It returns the ranges that are mapped anew: their contents are to be
// written again. The descriptors that p.OpenFile gives are of this image's files.
func (im *Image) Remap(p *Place, built *Image) (fresh []linux.Range, err error) {
	if !slices.Equal(im.VDSO, built.VDSO) {
		return nil, fmt.Errorf("process %d has moved its vDSO meanwhile", im.PID)
	}
	if err := p.checkKeep(im.VMAs); err != nil {
		return nil, err
	}
	if err := p.allocateKeys(im.VMAs); err != nil {
		return nil, err
	}
	steps, fresh, err := p.remapSteps(im, built)
	if err != nil {
		return nil, err
	}
	if err := p.run(steps); err != nil {
		return nil, fmt.Errorf("change the address space of process %d: %w", im.PID, err)
	}
	if err := p.nameVMAs(im.VMAs); err != nil {
		return nil, err
	}
	return fresh, im.restoreLayout(p)
}

func (p *Place) remapSteps(im, built *Image) (steps []step, fresh []linux.Range, err error) {
	keeps := make([]bool, len(im.VMAs)) // something of the mapping is there
	for i := range im.VMAs {
		keeps[i] = keepsSome(im, built, &im.VMAs[i])
	}
	// First everything goes that is not there any more, or is something else.
	n := 0
	for bi := range built.VMAs {
		b := &built.VMAs[bi]
		at := b.Start
		for n > 0 && im.VMAs[n-1].End > b.Start {
			n--
		}
		for n < len(im.VMAs) && im.VMAs[n].End <= b.Start {
			n++
		}
		for k := n; k < len(im.VMAs) && im.VMAs[k].Start < b.End; k++ {
			v := &im.VMAs[k]
			if !keeps[k] || !sameMemory(im, built, v, b) {
				continue
			}
			if v.Start > at {
				steps = append(steps, must(unix.SYS_MUNMAP, at, v.Start-at))
			}
			at = min(v.End, b.End)
		}
		if at < b.End {
			steps = append(steps, must(unix.SYS_MUNMAP, at, b.End-at))
		}
	}
	// Then what is left is changed, and what is new is made.
	var run []VMA // new mappings in a row
	flush := func() error {
		more, err := p.mapSteps(im, run)
		steps, run = append(steps, more...), nil
		return err
	}
	n = 0
	for i := range im.VMAs {
		v := &im.VMAs[i]
		if !keeps[i] {
			run = append(run, *v)
			fresh = appendRange(fresh, linux.Range{Start: v.Start, End: v.End})
			continue
		}
		for n > 0 && built.VMAs[n-1].End > v.Start {
			n--
		}
		for n < len(built.VMAs) && built.VMAs[n].End <= v.Start {
			n++
		}
		at := v.Start
		gap := func(end uint64) { // anonymous memory has grown
			if at < end {
				piece := *v
				piece.Start, piece.End = at, end
				run = append(run, piece)
				fresh = appendRange(fresh, linux.Range{Start: at, End: end})
			}
		}
		for k := n; k < len(built.VMAs) && built.VMAs[k].Start < v.End; k++ {
			b := &built.VMAs[k]
			if !sameMemory(im, built, v, b) {
				continue
			}
			start, end := max(v.Start, b.Start), min(v.End, b.End)
			gap(start)
			if err := flush(); err != nil {
				return nil, nil, err
			}
			steps = append(steps, changeSteps(v, b, start, end)...)
			at = end
		}
		gap(v.End)
	}
	return steps, fresh, flush()
}

// keepsSome tells whether a part of a mapping has been built, and the rest can be
// added. The rest of a file's mapping cannot: it would be another mapping.
func keepsSome(im, built *Image, v *VMA) bool {
	n := searchVMA(built.VMAs, v.Start)
	at, some := v.Start, false
	for ; n < len(built.VMAs) && built.VMAs[n].Start < v.End; n++ {
		if b := &built.VMAs[n]; sameMemory(im, built, v, b) {
			some = true
			if b.Start <= at {
				at = max(at, b.End)
			}
		}
	}
	return some && (at >= v.End || v.File < 0 && v.Object == 0 && !v.Shared)
}

// searchVMA finds the first mapping that ends behind an address.
func searchVMA(vmas []VMA, addr uint64) int {
	n, _ := slices.BinarySearchFunc(vmas, addr, func(v VMA, a uint64) int {
		if v.End <= a {
			return -1
		}
		return 1
	})
	return n
}

// fixed are properties that a mapping has from the beginning, and those that
// nothing takes away.
const fixed = linux.VMNoReserve | linux.VMHugePage | linux.VMNoHugePage | linux.VMHugeTLB

// sameMemory tells whether what was built at b is, where they overlap, what v is
// to be, but for protection and advice.
func sameMemory(im, built *Image, v, b *VMA) bool {
	if v.Start >= b.End || b.Start >= v.End || v.Shared != b.Shared || v.GrowsDown != b.GrowsDown || v.Object != b.Object ||
		(v.File < 0) != (b.File < 0) || b.Flags&fixed&^v.Flags != 0 || (v.Flags^b.Flags)&linux.VMNoReserve != 0 {
		return false
	}
	if v.File >= 0 && im.Files[v.File] != built.Files[b.File] {
		return false
	}
	return v.File < 0 && v.Object == 0 || v.Offset-v.Start == b.Offset-b.Start
}

// changeSteps gives a part of a mapping, which is as b, the protection and advice
// of v.
func changeSteps(v, b *VMA, start, end uint64) []step {
	var steps []step
	size := end - start
	switch {
	case v.Key != b.Key && v.Prot != unix.PROT_EXEC:
		steps = append(steps, must(unix.SYS_PKEY_MPROTECT, start, size, uint64(v.Prot), uint64(v.Key)))
	case v.Prot != b.Prot:
		steps = append(steps, must(unix.SYS_MPROTECT, start, size, uint64(v.Prot)))
	}
	changed := v.Flags ^ b.Flags
	for _, a := range advices { // sequential and random have one opposite: it comes first
		if changed&b.Flags&a.flag != 0 && a.clear >= 0 {
			steps = append(steps, wish(unix.SYS_MADVISE, start, size, uint64(a.clear)))
		}
	}
	for _, a := range advices {
		if changed&v.Flags&a.flag != 0 {
			steps = append(steps, wish(unix.SYS_MADVISE, start, size, uint64(a.set)))
		}
	}
	return steps
}
