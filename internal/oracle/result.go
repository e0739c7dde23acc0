package oracle

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A Text is one recorded thing: an output, a status, a transcript.
type Text struct{ Name, Text string }

// A Result is what one run of a case showed.
type Result struct {
	Texts []Text
	Files map[string]string // path → kind, mode and content, of what the run left in its directory
	User  time.Duration     // user time that the home kernel charged to the programs
}

// diff says where away differs from the native result.
func (native *Result) diff(away *Result) []string {
	var ds []string
	if len(native.Texts) != len(away.Texts) {
		ds = append(ds, fmt.Sprintf("%d texts recorded natively, %d away", len(native.Texts), len(away.Texts)))
	}
	for i, n := range native.Texts {
		if i >= len(away.Texts) {
			break
		}
		if a := away.Texts[i]; n != a {
			ds = append(ds, fmt.Sprintf("%s differs (-native +away):\n%s", n.Name, diffText(n.Text, a.Text)))
		}
	}
	if d := cmp.Diff(native.Files, away.Files); d != "" {
		ds = append(ds, "files left differ (-native +away):\n"+clip(d))
	}
	return ds
}

// diffText shows the differing lines with their numbers: victims print one finding a line.
func diffText(native, away string) string {
	n, a := strings.Split(native, "\n"), strings.Split(away, "\n")
	if len(n) == len(a) {
		var b strings.Builder
		for i := range n {
			if n[i] != a[i] {
				fmt.Fprintf(&b, "%d:\n  - %q\n  + %q\n", i+1, n[i], a[i])
			}
		}
		return clip(b.String())
	}
	return clip(cmp.Diff(n, a))
}

// clip bounds what a failure message quotes.
func clip(s string) string {
	const most = 30000
	if len(s) <= most {
		return s
	}
	return s[:most/2] + fmt.Sprintf("\n… %d bytes …\n", len(s)-most) + s[len(s)-most/2:]
}
