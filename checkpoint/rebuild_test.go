package checkpoint

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
	"homing/internal/tracer"
)

// here is a Place in a stopped process itself.
func (v *victim) here(body *tracer.Body, im *Image) *Place {
	v.t.Helper()
	maps, err := linux.Mappings(v.pid)
	if err != nil {
		v.t.Fatal(err)
	}
	p := &Place{TID: v.pid, Body: body, Keep: []linux.Range{{Start: body.Stub, End: body.Table + 2*uint64(body.Size)}}}
	for _, m := range maps {
		switch m.Path {
		case "[vvar]", "[vvar_vclock]", "[vdso]":
			p.VDSO = append(p.VDSO, m)
		}
	}
	fds := make([]int, len(im.Files))
	for i, f := range im.Files {
		if err := body.WriteScratch(v.pid, append([]byte(f.Path), 0)); err != nil {
			v.t.Fatal(err)
		}
		res, err := body.Inject(v.pid, []tracer.Call{tracer.C(unix.SYS_OPENAT, ^uint64(99), body.Table+uint64(body.Size), unix.O_RDONLY)})
		if err != nil {
			v.t.Fatal(err)
		}
		fds[i] = int(res[0])
	}
	p.OpenFile = func(i int) (int, []tracer.Call, error) { return fds[i], nil, nil }
	return p
}

// image captures a stopped process.
func (v *victim) image(threads []int, body *tracer.Body, early []linux.MappingFlags) (*Image, error) {
	im := &Image{PID: v.pid}
	maps, err := linux.Mappings(v.pid)
	if err != nil {
		return nil, err
	}
	hidden := []linux.Range{{Start: body.Stub, End: body.Table + 2*uint64(body.Size)}}
	if err := im.CaptureMemory(v.pid, maps, hidden, func(m linux.Mapping) (File, bool) {
		return File{Path: m.Path, Dev: m.Dev, Ino: m.Ino}, true
	}); err != nil {
		return nil, err
	}
	if err := im.CaptureFlags(v.pid, early); err != nil {
		return nil, err
	}
	for _, tid := range threads {
		th, err := CaptureThread(tid)
		if err != nil {
			return nil, err
		}
		var brk *uint64
		if tid == v.pid {
			brk = &im.Layout.Brk
		}
		if err := CaptureInjected(tid, body, &th, brk); err != nil {
			return nil, err
		}
		im.Threads = append(im.Threads, th)
	}
	im.Locks, err = CaptureLocks(v.pid, body)
	return im, err
}

// rebuild takes all memory from a stopped process and gives it back.
func (v *victim) rebuild(threads []int, body *tracer.Body, early []linux.MappingFlags) error {
	im, err := v.image(threads, body, early)
	if err != nil {
		return err
	}
	pages := make([]byte, im.PageBytes())
	if err := im.ReadPages(v.pid, pages); err != nil {
		return err
	}
	if err := DropLocks(v.pid, body); err != nil {
		return err
	}
	for i, tid := range threads {
		if err := im.Threads[i].Strip(tid, body); err != nil {
			return err
		}
	}
	place := v.here(body, im)
	if err := im.Validate(); err != nil {
		return err
	}
	if err := im.RestoreMemory(place); err != nil {
		return err
	}
	if err := im.WritePages(v.pid, pages); err != nil {
		return err
	}
	if err := im.RestoreLocks(v.pid, body, true); err != nil {
		return err
	}
	for i := range im.Files {
		fd, _, _ := place.OpenFile(i)
		if _, err := body.Inject(v.pid, []tracer.Call{tracer.C(unix.SYS_CLOSE, uint64(fd))}); err != nil {
			return err
		}
	}
	for i, tid := range threads {
		if err := im.Threads[i].RestoreThread(tid, body); err != nil {
			return err
		}
		if err := linux.SetSigmask(tid, ^uint64(1<<(uint(unix.SIGTRAP)-1))); err != nil {
			return err
		}
	}
	return nil
}

// mappings is /proc/PID/maps with the flags of smaps at each line.
func (v *victim) mappings() string {
	v.t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(v.pid) + "/smaps")
	if err != nil {
		v.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "VmFlags:"), strings.HasPrefix(line, "ProtectionKey:"):
			out[len(out)-1] += " " + strings.Join(strings.Fields(line)[1:], " ")
		case line[0] < 'A' || line[0] > 'Z':
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func (v *victim) sameMappings(before string) {
	v.t.Helper()
	was, is := strings.Split(before, "\n"), strings.Split(v.mappings(), "\n")
	for i := range max(len(was), len(is)) {
		a, b := "", ""
		if i < len(was) {
			a = was[i]
		}
		if i < len(is) {
			b = is[i]
		}
		if a != b {
			v.t.Errorf("mapping %d was\n%s\nis\n%s", i, a, b)
			return
		}
	}
}

// A process that has been rebuilt in its own place has the same mappings, with
// all their properties, and works.
func TestRebuild(t *testing.T) {
	for _, tt := range []struct{ name, argument string }{{"mappings", ""}, {"mappings", "future"}, {"mappings", "all"}, {"threads", ""}} {
		t.Run(tt.name+" "+tt.argument, func(t *testing.T) {
			v := startVictim(t, tt.name, strings.Fields(tt.argument)...)
			if got := v.line(); got != "ready" {
				t.Fatal(got)
			}
			before := v.mappings()
			for round := range 3 {
				var early []linux.MappingFlags
				if round == 1 {
					var err error
					if early, err = linux.ReadMappingFlags(v.pid); err != nil {
						t.Fatal(err)
					}
				}
				v.stopped(func(threads []int, body *tracer.Body) error { return v.rebuild(threads, body, early) })
				v.sameMappings(before)
			}
			if tt.name == "mappings" {
				v.tell("")
			}
			v.end()
		})
	}
}

// Another process gets the mappings of the first, and follows its changes.
func TestRemapProcess(t *testing.T) {
	from, to := startVictim(t, "changes"), startVictim(t, "threads")
	from.line()
	to.line()
	var built *Image
	var texts [2][]string
	visible := func(v *victim) (out []string) {
		for line := range strings.Lines(v.mappings()) {
			if !strings.HasPrefix(line, strconv.FormatUint(testStub, 16)[:8]) {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return out
	}
	to.stopped(func(_ []int, target *tracer.Body) error {
		for round := range 25 {
			var im *Image
			var pages []byte
			from.stopped(func(threads []int, body *tracer.Body) (err error) {
				im, err = from.image(threads, body, nil)
				if err == nil {
					pages = make([]byte, im.PageBytes())
					err = im.ReadPages(from.pid, pages)
				}
				texts[0] = visible(from)
				return err
			})
			place := to.here(target, im)
			if built == nil {
				for _, tid := range to.threads() {
					th, err := CaptureThread(tid)
					if err != nil {
						return err
					}
					if err := th.Strip(tid, target); err != nil {
						return err
					}
				}
				if err := im.RestoreMemory(place); err != nil {
					return err
				}
			} else if fresh, err := im.Remap(place, built); err != nil {
				return err
			} else if round%8 == 3 && len(fresh) > 0 {
				t.Errorf("round %d: a protection has changed, and %#x are new", round, fresh)
			}
			if err := im.WritePages(to.pid, pages); err != nil {
				return err
			}
			built = im
			texts[1] = visible(to)
			if a, b := strings.Join(texts[0], "\n"), strings.Join(texts[1], "\n"); a != b {
				t.Errorf("round %d: mappings are\n%s\nof the copy\n%s", round, a, b)
				break
			}
			from.tell("")
			from.line()
		}
		_ = to.Process.Kill() // what it was is no more
		return errKilled
	})
}

// A thread that is stopped when it has just faulted faults again.
func TestFaults(t *testing.T) {
	v := startVictim(t, "faults")
	v.line()
	for range 150 {
		v.stopped(func(threads []int, body *tracer.Body) error {
			for _, tid := range threads {
				if _, err := body.Inject(tid, []tracer.Call{tracer.C(unix.SYS_GETPID)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	v.end()
}

// Memory of huge pages is filled with huge pages.
func TestHugePages(t *testing.T) {
	v := startVictim(t, "large", "8", "huge")
	v.line()
	huge := func() string {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(v.pid) + "/smaps_rollup")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nAnonHugePages:")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	before := huge()
	if before == "0 kB" {
		t.Skip("this kernel gives no huge pages")
	}
	v.stopped(func(threads []int, body *tracer.Body) error { return v.rebuild(threads, body, nil) })
	if now := huge(); now != before {
		t.Errorf("huge pages: %s were, %s are", before, now)
	}
	v.end()
}
