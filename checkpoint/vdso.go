package checkpoint

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os"
	"sync"

	"homing/internal/linux"
)

// vdsoBuild is the build ID of this kernel's vDSO, which is the same in every
// process; empty if it has none. A program keeps addresses of functions in the
// vDSO, so it can only go where they are the same: sizes, which are whole
// pages, do not tell.
var vdsoBuild = sync.OnceValue(func() string {
	maps, err := linux.Mappings(os.Getpid())
	if err != nil {
		return ""
	}
	for _, m := range maps {
		if m.Path != "[vdso]" {
			continue
		}
		image := make([]byte, m.End-m.Start)
		if _, err := linux.ReadMemory(os.Getpid(), m.Start, image); err != nil {
			return ""
		}
		return buildID(image)
	}
	return ""
})

// buildID finds the note NT_GNU_BUILD_ID of an ELF image, see elf(5).
func buildID(image []byte) string {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > uint64(len(image)) {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			continue
		}
		if id, ok := findNote(b); ok {
			return hex.EncodeToString(id)
		}
	}
	return ""
}

// findNote looks through notes: lengths of name and content, type, then both,
// each padded to four bytes.
func findNote(b []byte) ([]byte, bool) {
	const head, buildIDNote = 12, 3
	pad := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for len(b) >= head {
		nameLen, length, typ := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		b = b[head:]
		if pad(nameLen)+pad(length) > uint64(len(b)) {
			break
		}
		name, content := b[:nameLen], b[pad(nameLen):][:length]
		if typ == buildIDNote && string(name) == "GNU\x00" {
			return content, true
		}
		b = b[pad(nameLen)+pad(length):]
	}
	return nil, false
}
