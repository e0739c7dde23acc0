package checkpoint

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"homing/internal/linux"
)

func validImage() *Image {
	return &Image{
		PID:     7,
		Threads: []Thread{{TID: 7, Xstate: make([]byte, 832)}},
		VMAs: []VMA{
			{Start: 0x400000, End: 0x402000, Prot: unix.PROT_READ, File: 0},
			{Start: 0x402000, End: 0x403000, Prot: unix.PROT_READ | unix.PROT_WRITE, File: -1},
			{Start: 0x7fff00000000, End: 0x7fff00010000, File: -1, GrowsDown: true},
		},
		Files:   []File{{Path: "/bin/x", Ino: 3, Size: 8192}},
		Actions: map[int]Action{2: {Handler: 1}},
		VDSO:    []linux.Mapping{{Start: 0x7fff10000000, End: 0x7fff10002000, Path: "[vdso]"}},
		Pages:   []linux.Range{{Start: 0x402000, End: 0x403000}, {Start: 0x7fff0000f000, End: 0x7fff00010000}},
	}
}

func TestValidate(t *testing.T) {
	im := validImage()
	if err := im.Validate(); err != nil {
		t.Fatal(err)
	}
	pages, err := im.MakePages()
	if err != nil || len(pages) != 8192 || im.PageBytes() != 8192 {
		t.Errorf("room for %d bytes, %v", len(pages), err)
	}
	for name, spoil := range map[string]func(*Image){
		"no thread":               func(im *Image) { im.Threads = nil },
		"too many threads":        func(im *Image) { im.Threads = make([]Thread, 32769) },
		"no extended registers":   func(im *Image) { im.Threads[0].Xstate = nil },
		"huge extended registers": func(im *Image) { im.Threads[0].Xstate = make([]byte, maxXstate+1) },
		"mappings overlap":        func(im *Image) { im.VMAs[1].Start -= 4096 },
		"mappings not in order":   func(im *Image) { im.VMAs[0], im.VMAs[2] = im.VMAs[2], im.VMAs[0] },
		"empty mapping":           func(im *Image) { im.VMAs[1].End = im.VMAs[1].Start },
		"mapping not of pages":    func(im *Image) { im.VMAs[1].End -= 1 },
		"mapping of the kernel's": func(im *Image) { im.VMAs[2].End = 1<<47 + 4096 },
		"address wraps":           func(im *Image) { im.VMAs[2].End = 0x1000 },
		"unknown property":        func(im *Image) { im.VMAs[0].Flags = linux.VMAll + 1 },
		"sealed":                  func(im *Image) { im.VMAs[0].Flags = linux.VMSealed },
		"no such key":             func(im *Image) { im.VMAs[0].Key = 16 },
		"negative key":            func(im *Image) { im.VMAs[0].Key = -1 },
		"long name":               func(im *Image) { im.VMAs[0].Name = strings.Repeat("x", 80) },
		"name with a zero":        func(im *Image) { im.VMAs[0].Name = "x\x00y" },
		"unknown protection":      func(im *Image) { im.VMAs[0].Prot = 8 },
		"many features":           func(im *Image) { im.CPU.Features = make([]string, maxFeatures+1) },
		"long feature":            func(im *Image) { im.CPU.Features = []string{strings.Repeat("x", maxFeatureName+1)} },
		"odd feature":             func(im *Image) { im.CPU.Features = []string{"x\ny"} },
		"odd component":           func(im *Image) { im.CPU.Components = []linux.XComponent{{Bit: 1, Offset: 576}} },
		"component without end":   func(im *Image) { im.CPU.Components = []linux.XComponent{{Bit: 2, Offset: 576, Size: maxXstate + 1}} },
		"component of no place":   func(im *Image) { im.CPU.Components = []linux.XComponent{{Bit: 2, Offset: 1, Size: 1}} },
		"unknown locks":           func(im *Image) { im.Locks = 1 },
		"long name of a thread":   func(im *Image) { im.Threads[0].Comm = make([]byte, 16) },
		"no such file":            func(im *Image) { im.VMAs[0].File = 1 },
		"negative file":           func(im *Image) { im.VMAs[0].File = -2 },
		"pages overlap":           func(im *Image) { im.Pages[1] = im.Pages[0] },
		"pages not whole":         func(im *Image) { im.Pages[0].Start++ },
		"pages of the kernel's":   func(im *Image) { im.Pages[1].End = ^uint64(0) &^ 4095 },
		"long auxiliary vector":   func(im *Image) { im.Layout.Auxv = make([]byte, 4097) },
		"many parts of vDSO":      func(im *Image) { im.VDSO = make([]linux.Mapping, 9) },
		"many signals":            func(im *Image) { fillActions(im, 65) },
		"many timers":             func(im *Image) { im.Timers.POSIX = make([]Timer, maxTimers+1) },
	} {
		im := validImage()
		spoil(im)
		if err := im.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := im.MakePages(); err == nil {
			t.Errorf("%s: room made for it", name)
		}
	}
}

func fillActions(im *Image, n int) {
	for i := range n {
		im.Actions[i] = Action{}
	}
}

// An image may be as large as an address space, but not be made room for.
func TestMakePagesRefusesWhatCannotBe(t *testing.T) {
	im := validImage()
	im.Pages = []linux.Range{{Start: 0x1000, End: 0x7fff00000000}}
	if err := im.Validate(); err != nil {
		t.Fatal(err)
	}
	if _, err := im.MakePages(); err == nil || !strings.Contains(err.Error(), "more than this machine has") {
		t.Errorf("got %v", err)
	}
}

// What Validate accepts can be worked on without a panic, whatever it says.
func FuzzValidate(f *testing.F) {
	im := validImage()
	im.Threads[0].Xstate = make([]byte, minXstate)
	seed, err := json.Marshal(im)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"Threads":[{}]}`))
	f.Add([]byte(`{"VMAs":[{"Start":4096,"End":0,"File":5}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var im Image
		if json.Unmarshal(b, &im) != nil || im.Validate() != nil {
			return
		}
		p := &Place{VDSO: append([]linux.Mapping(nil), im.VDSO...), OpenFile: noFiles}
		if len(im.VDSO) > 0 {
			p.VDSO[0].Start ^= 0x1000
		}
		if from, ok := matchVDSO(im.VDSO, p.VDSO); ok {
			moveVDSO(from, im.VDSO)
		}
		_ = im.CheckCPU()
		if _, err := p.mapSteps(&im, im.VMAs); err != nil {
			t.Fatal(err)
		}
		for _, built := range []*Image{{}, {VMAs: im.VMAs[:len(im.VMAs)/2], Files: im.Files}, &im} {
			if _, _, err := p.remapSteps(&im, built); err != nil {
				t.Fatal(err)
			}
		}
		if len(im.Pages) > 0 && im.PageBytes() == 0 {
			t.Error("pages without bytes")
		}
	})
}
