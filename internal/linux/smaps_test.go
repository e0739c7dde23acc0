package linux

import (
	"os"
	"reflect"
	"testing"
)

func TestMappingFlags(t *testing.T) {
	got, err := ParseMappingFlags([]byte("1000-3000 rw-p 00000000 00:00 0 \nSize: 8 kB\nProtectionKey:         2\nVmFlags: rd wr mr mw me ac hg dc ?? \n" +
		"a000-b000 r--s 00000000 00:01 7 /x\nVmFlags: rd \nffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\nVmFlags: ex \n"))
	want := []MappingFlags{
		{Start: 0x1000, End: 0x3000, Flags: VMAccount | VMHugePage | VMDontCopy, Key: 2},
		{Start: 0xa000, End: 0xb000},
		{Start: 0xffffffffff600000, End: 0xffffffffff601000},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"Size: 4 kB\n", "12 34\n", "1000-x\n", "1000-2000 r\nProtectionKey: x\n"} {
		if _, err := ParseMappingFlags([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	own, err := ReadMappingFlags(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	stack := false
	for _, m := range own {
		stack = stack || m.Flags&VMGrowsDown != 0
	}
	if !stack {
		t.Errorf("this process has no stack: %+v", own)
	}
}
