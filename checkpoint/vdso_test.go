package checkpoint

import "testing"

func TestBuildID(t *testing.T) {
	if id := vdsoBuild(); len(id) < 32 {
		t.Errorf("build ID of this kernel's vDSO: %q", id)
	}
	for _, bad := range []string{"", "\x7fELF", "not an ELF image at all, but long enough to look like one...................."} {
		if id := buildID([]byte(bad)); id != "" {
			t.Errorf("%q has build ID %s", bad, id)
		}
	}
	linux := "\x06\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00Linux\x00\x00\x00\x01\x02\x03\x04"
	gnu := "\x04\x00\x00\x00\x05\x00\x00\x00\x03\x00\x00\x00GNU\x00abcde\x00\x00\x00"
	if id, ok := findNote([]byte(linux + gnu)); !ok || string(id) != "abcde" {
		t.Errorf("found %q, %v", id, ok)
	}
	for n := range len(linux + gnu) {
		if _, ok := findNote([]byte((linux + gnu)[:n])); ok {
			t.Errorf("found in the first %d bytes", n)
		}
	}
	if _, ok := findNote([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00GNU\x00")); ok {
		t.Error("lengths beyond the notes accepted")
	}
}

// A kernel with another vDSO of the same size is noticed before anything is done.
func TestOtherVDSOIsRefused(t *testing.T) {
	im := &Image{VDSOBuild: "another"}
	if err := im.RestoreMemory(&Place{}); err == nil {
		t.Error("accepted")
	}
}
