package syscallfwd

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// The kernel headers and x/sys of the day must not know more than the table.
func TestTableKnowsHeaders(t *testing.T) {
	headers := []string{
		"/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
		"/usr/include/asm/unistd_64.h",
	}
	define := regexp.MustCompile(`(?m)^#define __NR_(\w+)\s+(\d+)`)
	found := false
	for _, h := range headers {
		text, err := os.ReadFile(h)
		if err != nil {
			continue
		}
		found = true
		for _, m := range define.FindAllSubmatch(text, -1) {
			nr, err := strconv.Atoi(string(m[2]))
			if err != nil {
				t.Fatal(err)
			}
			checkRow(t, uint32(nr), string(m[1]), h)
		}
	}
	if !found {
		t.Skip("no kernel headers here")
	}
}

func checkRow(t *testing.T, nr uint32, name, source string) {
	t.Helper()
	e := Lookup(nr)
	if e == nil {
		t.Errorf("%s knows %s (%d), the table does not", source, name, nr)
		return
	}
	if e.Name != name {
		t.Errorf("%s: call %d is %s, the table says %s", source, nr, name, e.Name)
	}
}

func TestTableIsComplete(t *testing.T) {
	// Numbers that x86-64 has left out: 337 to 423 belong to x32 and others.
	for nr := range uint32(maxNr) {
		hole := nr >= 337 && nr < 424 || nr > 471
		if (Lookup(nr) == nil) != hole {
			t.Errorf("row %d: %v", nr, Lookup(nr))
		}
	}
	if Lookup(1<<20) != nil {
		t.Error("a number beyond the table has a row")
	}
	local := LocalNumbers()
	for _, want := range []string{"futex", "brk", "getpid", "clock_gettime", "rt_sigreturn"} {
		if !slices.Contains(local, LookupName(want).Nr) {
			t.Errorf("%s is not local", want)
		}
	}
	for _, never := range []string{"mmap", "read", "ptrace", "clone"} {
		if slices.Contains(local, LookupName(never).Nr) {
			t.Errorf("%s is local", never)
		}
	}
}

func TestTableRefusesMistakes(t *testing.T) {
	for name, e := range map[string]Entry{
		"no class":        {Nr: 1, Name: "x"},
		"number":          {Nr: maxNr, Name: "x", Class: Forward},
		"many arguments":  {Nr: 1, Name: "x", Class: Forward, Args: make([]Arg, 7)},
		"length missing":  row(1, "x", Forward, "", "", inN("buf", 1, 1)),
		"length pointer":  row(1, "x", Forward, "", "", inN("buf", 1, 1), in("b", 4)),
		"no codec":        row(1, "x", Forward, "", "", custom("c", nil)),
		"no address size": row(1, "x", Forward, "", "", sockaddr("a")),
		"no name":         row(1, "x", Forward, "", "", num("")),
	} {
		if e.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDocsAreFresh(t *testing.T) {
	var want bytes.Buffer
	if err := RenderMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../docs/syscalls.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/syscalls.md is stale: run go generate ./syscallfwd")
	}
}

func TestNames(t *testing.T) {
	for c := Local; c <= Repatriate; c++ {
		if c.String() == "" {
			t.Errorf("class %d has no name", c)
		}
	}
	for k := range numKinds {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	if Class(99).String() == "" || Kind(99).String() == "" {
		t.Error("unknown values print as nothing")
	}
}
