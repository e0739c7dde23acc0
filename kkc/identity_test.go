package kkc

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	prints := make([]string, 8)
	var wg sync.WaitGroup
	for i := range prints { // all come first at the same time
		wg.Go(func() {
			id, err := LoadIdentity(dir)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = id.Fingerprint
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] || checkFingerprint(p) != nil {
			t.Fatalf("fingerprints %q", prints)
		}
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	path := filepath.Join(dir, identityFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Error(st.Mode(), err)
	}
	os.Chmod(path, 0o644)
	if _, err := LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	os.WriteFile(path, []byte("rubbish"), 0o600)
	os.Chmod(path, 0o600)
	if _, err := LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
	os.Remove(path)
	if id, err := LoadIdentity(dir); err != nil || id.Fingerprint == prints[0] {
		t.Error(err)
	}
}
