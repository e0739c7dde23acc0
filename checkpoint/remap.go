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
	keeps := make([]int, len(im.VMAs)) // of which of the built mappings, -1: of none
	for i := range im.VMAs {
		keeps[i] = keepsOf(im, built, i)
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
			if keeps[k] != bi {
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
	for i := range im.VMAs {
		v := &im.VMAs[i]
		if keeps[i] < 0 {
			run = append(run, *v)
			fresh = appendRange(fresh, linux.Range{Start: v.Start, End: v.End})
			continue
		}
		if err := flush(); err != nil {
			return nil, nil, err
		}
		b := &built.VMAs[keeps[i]]
		kept := linux.Range{Start: max(v.Start, b.Start), End: min(v.End, b.End)}
		steps = append(steps, changeSteps(v, b, kept.Start, kept.End)...)
		for _, r := range (linux.Range{Start: v.Start, End: v.End}).Without([]linux.Range{kept}) { // it has grown
			piece := *v
			piece.Start, piece.End = r.Start, r.End
			run = append(run, piece)
			fresh = appendRange(fresh, r)
			if err := flush(); err != nil { // by itself, so that it joins what it belongs to
				return nil, nil, err
			}
		}
	}
	return steps, fresh, flush()
}

// keepsOf tells of which built mapping a part can be kept for a mapping, to which
// the rest can be added so that it is one mapping; -1: it is to be made anew. Of
// several that have become one only the largest can be kept: mappings that have
// pages do not join each other, and calls like mremap want one.
func keepsOf(im, built *Image, i int) int {
	v, best, size := &im.VMAs[i], -1, uint64(0)
	for n := searchVMA(built.VMAs, v.Start); n < len(built.VMAs) && built.VMAs[n].Start < v.End; n++ {
		b := &built.VMAs[n]
		if overlap := min(v.End, b.End) - max(v.Start, b.Start); sameMemory(im, built, v, b) && overlap > size {
			best, size = n, overlap
		}
	}
	if best < 0 || size == v.End-v.Start {
		return best
	}
	switch {
	case v.File >= 0, v.Object != 0, v.Shared:
		return -1 // what is added would be another mapping
	case v.Prot&unix.PROT_WRITE == 0 && v.Flags&linux.VMAccount != 0:
		return -1 // likewise: see mapVMA
	case built.VMAs[best].Start > v.Start && i > 0 && joins(im, &im.VMAs[i-1], v):
		return -1 // what is added would join its neighbour
	}
	return best
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
