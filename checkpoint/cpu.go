package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"homing/internal/fault"
	"homing/internal/linux"
)

// CPU is what a program may rely on of the processor on which it has run.
type CPU struct {
	// Features are those of /proc/cpuinfo that a program can use by itself.
	Features []string
	// Components are the parts of a thread's extended registers there: their
	// places differ between processors.
	Components []linux.XComponent
}

// usable are the features of /proc/cpuinfo that are instructions or registers
// for programs; the rest are the kernel's, or say how fast something is. What
// a processor is to have that is not known here yet is recognised by its family.
var usable = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(`
		fpu tsc cx8 cmov clflush mmx fxsr sse sse2 syscall mmxext rdtscp lm 3dnow 3dnowext pni pclmulqdq ssse3 fma cx16
		sse4_1 sse4_2 movbe popcnt aes xsave f16c rdrand lahf_lm abm sse4a misalignsse 3dnowprefetch xop fma4 tbm
		fsgsbase bmi1 hle avx avx2 bmi2 erms rtm mpx rdseed adx clflushopt clwb sha_ni xsavec xgetbv1 clzero rdpru
		pku ospke waitpkg gfni vaes vpclmulqdq rdpid movdiri movdir64b enqcmd serialize tsxldtrk fsrm cldemote
		avx_vnni sha512 sm3 sm4 avx_ifma avx_vnni_int8 avx_ne_convert avx_vnni_int16 cmpccxadd prefetchiti raoint
		user_shstk uintr hreset wbnoinvd umip mwaitx monitorx lwp`) {
		m[name] = true
	}
	return m
}()

// families of features of which there will be more.
var families = []string{"avx512", "avx10", "amx", "apx", "sse5"}

func isUsable(feature string) bool {
	return usable[feature] || slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(feature, f) })
}

// LocalCPU is this machine's.
var LocalCPU = sync.OnceValue(func() CPU {
	var c CPU
	_, c.Components = linux.XComponents()
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		c.Features = parseFeatures(b)
	}
	return c
})

// carried is what an image carries of the processor: of a program that came from
// another one the features of that, as it has looked at them when it began.
func (c CPU) carried() CPU {
	here := LocalCPU()
	if c.Features != nil {
		here.Features = c.Features
	}
	return here
}

// parseFeatures lists the usable features that all processors have in common.
func parseFeatures(cpuinfo []byte) []string {
	var common []string
	for line := range bytes.Lines(cpuinfo) {
		key, val, _ := bytes.Cut(line, []byte{':'})
		if string(bytes.TrimSpace(key)) != "flags" {
			continue
		}
		var own []string
		for f := range strings.FieldsSeq(string(val)) {
			if isUsable(f) {
				own = append(own, f)
			}
		}
		if common == nil {
			common = own
		} else {
			common = slices.DeleteFunc(common, func(f string) bool { return !slices.Contains(own, f) })
		}
	}
	slices.Sort(common)
	return common
}

// Bounds of what an image says of its processor.
const maxFeatures, maxFeatureName, maxComponents = 512, 64, 62

func (c *CPU) validate() error {
	if len(c.Features) > maxFeatures || len(c.Components) > maxComponents {
		return errors.New("image: too many processor features")
	}
	for _, f := range c.Features {
		if len(f) > maxFeatureName || strings.ContainsFunc(f, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("image: bad processor feature %.64q", f)
		}
	}
	for _, x := range c.Components {
		if x.Bit < 2 || x.Bit > 62 || x.Offset < minXstate || x.Size < 0 || x.Offset > maxXstate || x.Size > maxXstate {
			return fmt.Errorf("image: bad component %d of extended registers", x.Bit)
		}
	}
	return nil
}

// xstateBV is the offset of the set of components that are in use.
const xstateBV = 512

// CheckCPU tells whether the program can go on with this machine's processor,
// and names the first feature that it lacks. The threads' extended registers are
// brought to the form that they have here. It comes after Validate.
func (im *Image) CheckCPU() error {
	here := LocalCPU()
	if hidden, ok := fault.Value("cpu.hidden"); ok {
		here.Features = slices.DeleteFunc(slices.Clone(here.Features), func(f string) bool {
			return slices.Contains(strings.Fields(hidden), f)
		})
	}
	return im.checkCPU(here)
}

func (im *Image) checkCPU(here CPU) error {
	for _, f := range im.CPU.Features {
		if !slices.Contains(here.Features, f) {
			return fmt.Errorf("the processor has no %s, which the program may use since the one where it ran had it", f)
		}
	}
	if slices.Equal(im.CPU.Components, here.Components) {
		return nil
	}
	size := minXstate
	for _, x := range here.Components {
		size = max(size, x.Offset+x.Size)
	}
	for i := range im.Threads {
		t := &im.Threads[i]
		form, err := moveComponents(t.Xstate, im.CPU.Components, here.Components, size)
		if err != nil {
			return fmt.Errorf("thread %d: %w", t.TID, err)
		}
		t.Xstate = form
	}
	im.CPU.Components = here.Components
	return nil
}

// moveComponents brings extended registers from one processor's form to another's.
func moveComponents(b []byte, from, to []linux.XComponent, size int) ([]byte, error) {
	out := make([]byte, size)
	copy(out, b[:minXstate]) // x87, SSE and the header lie there everywhere
	inUse := binary.LittleEndian.Uint64(b[xstateBV:])
	for bit := 2; bit < 64; bit++ {
		if inUse&(1<<bit) == 0 {
			continue
		}
		is := func(x linux.XComponent) bool { return x.Bit == bit }
		f, t := slices.IndexFunc(from, is), slices.IndexFunc(to, is)
		switch {
		case t < 0:
			return nil, fmt.Errorf("the processor has no %s, which it uses", componentName(bit))
		case f < 0 || from[f].Size != to[t].Size || from[f].Offset+from[f].Size > len(b):
			return nil, fmt.Errorf("%s have another form on this processor", componentName(bit))
		}
		copy(out[to[t].Offset:], b[from[f].Offset:][:from[f].Size])
	}
	return out, nil
}

// componentName names a component of XSAVE.
func componentName(bit int) string {
	names := map[int]string{
		2: "AVX registers", 3: "MPX bounds", 4: "MPX bounds", 5: "AVX-512 masks", 6: "AVX-512 registers", 7: "AVX-512 registers",
		9: "protection keys", 17: "AMX tiles", 18: "AMX tiles", 19: "APX registers",
	}
	if name, ok := names[bit]; ok {
		return name
	}
	return fmt.Sprintf("extended registers (component %d)", bit)
}
