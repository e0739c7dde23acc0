package checkpoint

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"homing/internal/linux"
)

func TestParseFeatures(t *testing.T) {
	got := parseFeatures([]byte("processor\t: 0\nflags\t\t: sse2 avx2 hypervisor avx512f smep avx512_new\nbugs\t\t: x\n\nprocessor\t: 1\nflags\t\t: avx2 avx512_new sse2\n"))
	if want := []string{"avx2", "avx512_new", "sse2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if here := LocalCPU(); !slices.Contains(here.Features, "sse2") {
		t.Errorf("this machine: %+v", here)
	}
}

func TestCheckCPU(t *testing.T) {
	im := validImage()
	im.CPU = LocalCPU()
	if err := im.CheckCPU(); err != nil {
		t.Error(err)
	}
	im.CPU.Features = append(slices.Clone(im.CPU.Features), "avx512_unheard_of")
	if err := im.CheckCPU(); err == nil || !strings.Contains(err.Error(), "processor has no avx512_unheard_of") {
		t.Errorf("got %v", err)
	}
}

// Two makers put the same registers at different places.
func TestComponentsMove(t *testing.T) {
	intel := CPU{Components: []linux.XComponent{{Bit: 2, Offset: 576, Size: 256}, {Bit: 5, Offset: 1088, Size: 64}, {Bit: 9, Offset: 2688, Size: 8}}}
	amd := CPU{Components: []linux.XComponent{{Bit: 2, Offset: 576, Size: 256}, {Bit: 5, Offset: 832, Size: 64}, {Bit: 9, Offset: 2432, Size: 8}, {Bit: 11, Offset: 3000, Size: 16}}}
	fresh := func() *Image {
		b := make([]byte, 2696)
		for i := range b {
			b[i] = byte(i * 7)
		}
		binary.LittleEndian.PutUint64(b[xstateBV:], 1|2|1<<2|1<<5|1<<9)
		return &Image{CPU: intel, Threads: []Thread{{TID: 1, Xstate: b}}}
	}
	im := fresh()
	if err := im.checkCPU(amd); err != nil {
		t.Fatal(err)
	}
	was, is := fresh().Threads[0].Xstate, im.Threads[0].Xstate
	if len(is) != 3016 || !bytes.Equal(is[:832], was[:832]) || !bytes.Equal(is[832:896], was[1088:1152]) || !bytes.Equal(is[2432:2440], was[2688:2696]) {
		t.Error("components are not where they belong")
	}
	if err := im.checkCPU(amd); err != nil { // nothing to do
		t.Error(err)
	}
	if err := im.checkCPU(intel); err != nil || !bytes.Equal(im.Threads[0].Xstate[:896], was[:896][:896]) && !bytes.Equal(im.Threads[0].Xstate[1088:1152], was[1088:1152]) {
		t.Errorf("and back: %v", err)
	}
	old := CPU{Components: intel.Components[:1]}
	if err := fresh().checkCPU(old); err == nil || !strings.Contains(err.Error(), "AVX-512 masks") {
		t.Errorf("got %v", err)
	}
	im = fresh()
	binary.LittleEndian.PutUint64(im.Threads[0].Xstate[xstateBV:], 1|2|1<<2)
	if err := im.checkCPU(old); err != nil || len(im.Threads[0].Xstate) != 832 { // it does not use them
		t.Errorf("got %v", err)
	}
	im = fresh()
	im.Threads[0].Xstate = im.Threads[0].Xstate[:minXstate]
	if err := im.checkCPU(amd); err == nil {
		t.Error("registers that are not there accepted")
	}
	other := CPU{Components: slices.Clone(amd.Components)}
	other.Components[0].Size = 128
	if err := fresh().checkCPU(other); err == nil {
		t.Error("registers of another size accepted")
	}
}
