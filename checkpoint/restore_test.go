package checkpoint

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

func noFiles(int) (int, []tracer.Call, error) { return 3, nil, nil }

// Whatever is to be kept, Unmap removes the rest of the address space and
// nothing else.
func TestUnmap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const lowest = 0x10000
	sets := [][]linux.Range{
		nil,
		{{Start: lowest, End: lowest + 4096}},
		{{Start: taskSize - 4096, End: taskSize}},
		{{Start: 0x1000, End: 0x3000}}, // below what programs can map
		{{Start: 0x2000000, End: 0x3000000}, {Start: 0x1000000, End: 0x2000000}},
		{{Start: 0x1000000, End: 0x3000000}, {Start: 0x2000000, End: 0x2001000}},
	}
	for range 200 {
		var keep []linux.Range
		for range rnd.IntN(6) {
			start := rnd.Uint64N(taskSize/4096-300) * 4096
			keep = append(keep, linux.Range{Start: start, End: start + (1+rnd.Uint64N(300))*4096})
		}
		sets = append(sets, keep)
	}
	for _, keep := range sets {
		at := uint64(lowest)
		for _, c := range Unmap(keep) {
			start, end := c.Args[0], c.Args[0]+c.Args[1]
			if c.NR != unix.SYS_MUNMAP || start < at || end <= start || end > taskSize {
				t.Fatalf("keep %#x: call %d(%#x)", keep, c.NR, c.Args)
			}
			covered(t, keep, at, start)
			for _, k := range keep {
				if start < k.End && k.Start < end {
					t.Fatalf("keep %#x: %#x-%#x is removed", keep, start, end)
				}
			}
			at = end
		}
		covered(t, keep, at, taskSize)
	}
}

// covered fails unless what lies between two removed ranges is kept as a whole.
func covered(t *testing.T, keep []linux.Range, from, to uint64) {
	t.Helper()
	for at := from; at < to; {
		next := at
		for _, k := range keep {
			if k.Start <= at && at < k.End {
				next = max(next, k.End)
			}
		}
		if next == at {
			t.Fatalf("keep %#x: %#x is left", keep, at)
		}
		at = next
	}
}

func TestMoveVDSO(t *testing.T) {
	vdso := func(at uint64) []linux.Mapping {
		return []linux.Mapping{
			{Start: at, End: at + 0x4000, Path: "[vvar]"},
			{Start: at + 0x4000, End: at + 0x6000, Path: "[vdso]"},
		}
	}
	for name, tt := range map[string]struct {
		from, to uint64
		calls    int
	}{
		"same place": {0x7fff00000000, 0x7fff00000000, 0},
		"far":        {0x7fff00000000, 0x7ffe00000000, 2},
		"overlap":    {0x7fff00002000, 0x7fff00000000, 4},
		"overlap up": {0x7fff00000000, 0x7fff00002000, 4},
	} {
		p, im := &Place{VDSO: vdso(tt.from)}, &Image{VDSO: vdso(tt.to)}
		calls := moveVDSO(p.VDSO, im.VDSO)
		if len(calls) != tt.calls {
			t.Errorf("%s: %d calls, want %d", name, len(calls), tt.calls)
		}
		// Follow each part.
		where := map[uint64]uint64{}
		for _, m := range p.VDSO {
			where[m.Start] = m.Start
		}
		for _, c := range calls {
			for part, at := range where {
				switch {
				case at == c.Args[0]:
					where[part] = c.Args[4]
				case at < c.Args[4]+c.Args[2] && c.Args[4] < at+0x2000:
					t.Errorf("%s: part %#x is overwritten at %#x", name, part, at)
				}
			}
		}
		for i, m := range p.VDSO {
			if where[m.Start] != im.VDSO[i].Start {
				t.Errorf("%s: part %d ends at %#x, want %#x", name, i, where[m.Start], im.VDSO[i].Start)
			}
		}
	}
	if _, ok := matchVDSO(vdso(0), vdso(0)[:1]); ok {
		t.Error("a part that the target has not is matched")
	}
	for _, image := range [][]linux.Mapping{vdso(0), vdso(0)[1:], nil} { // a program may have unmapped some
		if from, ok := matchVDSO(image, vdso(1<<20)); !ok || len(from) != len(image) {
			t.Errorf("%d parts are not matched by names and sizes", len(image))
		}
	}
}

func TestMapVMA(t *testing.T) {
	im := &Image{Files: []File{{}}}
	shared := []tracer.Call{tracer.C(unix.SYS_SHMAT)}
	p := &Place{OpenFile: noFiles, Object: func(v VMA) ([]tracer.Call, bool) { return shared, v.Object == 5 }}
	for name, tt := range map[string]struct {
		v     VMA
		flags uint64
		fd    uint64
	}{
		"anonymous":      {VMA{File: -1}, unix.MAP_FIXED | unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)},
		"not reserved":   {VMA{File: -1, Flags: linux.VMNoReserve}, unix.MAP_FIXED | unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE, ^uint64(0)},
		"stack":          {VMA{File: -1, GrowsDown: true}, unix.MAP_FIXED | unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_GROWSDOWN, ^uint64(0)},
		"unknown object": {VMA{File: -1, Shared: true, Object: 6}, unix.MAP_FIXED | unix.MAP_SHARED | unix.MAP_ANONYMOUS, ^uint64(0)},
		"file":           {VMA{File: 0}, unix.MAP_FIXED | unix.MAP_PRIVATE, 3},
		"shared file":    {VMA{File: 0, Shared: true}, unix.MAP_FIXED | unix.MAP_SHARED, 3},
	} {
		tt.v.Start, tt.v.End = 0x1000, 0x3000
		steps, err := p.mapVMA(im, &tt.v, apart{})
		if err != nil || len(steps) != 1 || steps[0].soft {
			t.Errorf("%s: %+v, %v", name, steps, err)
			continue
		}
		if c := steps[0].call; c.NR != unix.SYS_MMAP || c.Args[3] != tt.flags || c.Args[4] != tt.fd || c.Args[1] != 0x2000 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if steps, err := p.mapVMA(im, &VMA{File: -1, Shared: true, Object: 5}, apart{}); err != nil || len(steps) != 1 || steps[0].call != shared[0] {
		t.Errorf("known object: %+v, %v", steps, err)
	}
}
