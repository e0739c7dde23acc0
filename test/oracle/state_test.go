package oracle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStateIsListed compares docs/state.md with the programs that show a piece of state across a move.
func TestStateIsListed(t *testing.T) {
	b, err := os.ReadFile("../../docs/state.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	sources, err := filepath.Glob("../../testdata/moved_*.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	there := map[string]bool{}
	for _, src := range sources {
		name := strings.TrimSuffix(filepath.Base(src), ".c")
		there[name] = true
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/state.md does not list %s", name)
		}
	}
	for i, part := range strings.Split(doc, "`") {
		if i%2 == 1 && strings.HasPrefix(part, "moved_") && !there[part] {
			t.Errorf("docs/state.md lists %s, which is not in testdata", part)
		}
	}
}
