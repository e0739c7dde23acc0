package checkpoint

import (
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

// A model of an address space of few pages.
const modelBase, modelPages = uint64(0x10000000), 48

type modelPage struct {
	mapped, shared bool
	file           int // -1: anonymous
	offset         uint64
	prot           int
	flags          linux.VMFlags
	key            int
	content        int // what was written to it
}

type model [modelPages]modelPage

func modelAddr(i int) uint64 { return modelBase + uint64(i)*PageSize }

// image lists what is mapped as the kernel would.
func (m *model) image(files []File) *Image {
	im := &Image{Files: files}
	for i, p := range m {
		if !p.mapped {
			continue
		}
		v := VMA{Start: modelAddr(i), End: modelAddr(i + 1), Prot: p.prot, Shared: p.shared, File: p.file, Flags: p.flags, Key: p.key}
		if p.file >= 0 {
			v.Offset = p.offset
		}
		if n := len(im.VMAs); n > 0 {
			last, whole := &im.VMAs[n-1], v
			whole.Start, whole.Offset = last.Start, last.Offset
			longer := *last
			longer.End = v.End
			if last.End == v.Start && longer == whole && (v.File < 0 || v.Offset == last.Offset+(last.End-last.Start)) {
				last.End = v.End
				continue
			}
		}
		im.VMAs = append(im.VMAs, v)
	}
	return im
}

// random does what a program may do to some of its pages.
func (m *model) random(rnd *rand.Rand) {
	i := rnd.IntN(modelPages)
	pages := m[i:min(modelPages, i+1+rnd.IntN(12))]
	file, shared, flags := rnd.IntN(3)-1, rnd.IntN(4) == 0, linux.VMFlags(0)
	if rnd.IntN(4) == 0 && file < 0 {
		flags = linux.VMNoReserve
	}
	op, prot, key, offset := rnd.IntN(6), rnd.IntN(8), rnd.IntN(3), uint64(rnd.IntN(4))*PageSize
	advice := advices[2+rnd.IntN(len(advices)-2)]
	for n := range pages {
		p := &pages[n]
		switch {
		case op < 2:
			*p = modelPage{mapped: true, shared: shared, file: file, prot: prot, flags: flags}
			if file >= 0 {
				p.offset = offset + uint64(n)*PageSize
			}
		case op == 2:
			*p = modelPage{}
		case !p.mapped:
		case op == 3:
			p.protect(prot)
		case op == 4 && prot != unix.PROT_EXEC:
			p.prot, p.key = prot, key
		default:
			p.advise(advice.set)
		}
	}
}

func (p *modelPage) protect(prot int) {
	if p.prot = prot; prot == unix.PROT_EXEC {
		p.key = 0 // of the kernel's choice
	}
}

func (p *modelPage) advise(advice int) {
	switch advice {
	case madvNormal, madvSequential, madvRandom:
		p.flags &^= linux.VMSequential | linux.VMRandom
	case madvHugePage, madvNoHugePage:
		p.flags &^= linux.VMHugePage | linux.VMNoHugePage
	}
	for _, a := range advices {
		switch {
		case a.flag == linux.VMHugeTLB: // is no advice
		case a.set == advice:
			p.flags |= a.flag
		case a.clear == advice:
			p.flags &^= a.flag
		}
	}
}

// do executes a call.
func (m *model) do(t *testing.T, s step) {
	t.Helper()
	a := s.call.Args
	if a[0] < modelBase || a[1] == 0 || a[0]+a[1] > modelAddr(modelPages) || (a[0]|a[1])%PageSize != 0 {
		t.Fatalf("call %d(%#x)", s.call.NR, a)
	}
	first := int((a[0] - modelBase) / PageSize)
	for i := first; i < first+int(a[1]/PageSize); i++ {
		p := &m[i]
		if s.call.NR != unix.SYS_MMAP && !p.mapped {
			t.Fatalf("call %d(%#x): page %d is not mapped", s.call.NR, a, i)
		}
		switch s.call.NR {
		case unix.SYS_MMAP:
			*p = modelPage{mapped: true, shared: a[3]&unix.MAP_SHARED != 0, prot: int(a[2]), file: int(int32(a[4]))}
			if p.file >= 0 {
				p.offset = a[5] + uint64(i-first)*PageSize
			}
			if a[3]&unix.MAP_NORESERVE != 0 {
				p.flags = linux.VMNoReserve
			}
		case unix.SYS_MUNMAP:
			*p = modelPage{}
		case unix.SYS_MPROTECT:
			p.protect(int(a[2]))
		case unix.SYS_PKEY_MPROTECT:
			p.prot, p.key = int(a[2]), int(a[3])
		case unix.SYS_MADVISE:
			switch a[2] {
			case unix.MADV_DONTNEED:
				p.content = 0
			default:
				p.advise(int(a[2]))
			}
		default:
			t.Fatalf("call %d", s.call.NR)
		}
	}
}

// origins is of how many built mappings something is kept in the mapping of page i.
func origins(im, built *Image, fresh []linux.Range, i int) int {
	v := &im.VMAs[searchVMA(im.VMAs, modelAddr(i))]
	n := 0
	for _, b := range built.VMAs {
		both := linux.Range{Start: max(v.Start, b.Start), End: min(v.End, b.End)}
		if both.Start < both.End && len(both.Without(fresh)) > 0 {
			n++
		}
	}
	return n
}

// Whatever a program has done meanwhile, Remap makes of what was built what is
// wanted, keeps contents, and says which it did not.
func TestRemap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	p := &Place{OpenFile: func(i int) (int, []tracer.Call, error) { return i, nil, nil }}
	for round := range 4000 {
		var source model
		for i := range source {
			source[i].file = -1
		}
		for range rnd.IntN(12) {
			source.random(rnd)
		}
		built := source.image([]File{{Ino: 1}, {Ino: 2}})
		target := source
		for i := range target {
			target[i].content = i + 1
		}
		before := target
		for range rnd.IntN(8) {
			source.random(rnd)
		}
		im := source.image([]File{{Ino: 1}, {Ino: 2}})
		steps, fresh, err := p.remapSteps(im, built)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(im.VMAs, built.VMAs) && (len(steps) > 0 || len(fresh) > 0) {
			t.Fatalf("round %d: nothing changed, and %d calls", round, len(steps))
		}
		for _, s := range steps {
			target.do(t, s)
		}
		for i := range target {
			want, got := source[i], target[i]
			isFresh := slices.ContainsFunc(fresh, func(r linux.Range) bool { return r.Start <= modelAddr(i) && modelAddr(i) < r.End })
			content := got.content
			want.content, got.content = 0, 0
			switch was := before[i]; {
			case want.mapped != got.mapped || want.mapped && want != got:
				t.Fatalf("round %d: page %d is %+v, want %+v\nbuilt %+v\nwant %+v\ncalls %+v", round, i, got, want, built.VMAs, im.VMAs, steps)
			case want.mapped && want.file < 0 && origins(im, built, fresh, i) > 1:
				t.Fatalf("round %d: the mapping of page %d is made of several that had pages\nbuilt %+v\nwant %+v", round, i, built.VMAs, im.VMAs)
			case isFresh && (!want.mapped || content != 0):
				t.Fatalf("round %d: page %d is said to be new, has content %d", round, i, content)
			case want.mapped && !isFresh && content != i+1:
				t.Fatalf("round %d: page %d lost its content", round, i)
			case isFresh && was.mapped && want.file < 0 && was.file < 0 && !want.shared && !was.shared && want.flags == was.flags && origins(im, built, fresh, i) == 0:
				t.Fatalf("round %d: page %d need not be new", round, i)
			}
		}
	}
}
