package oracle

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// digestTree describes every file under dir, but for times, owners and inode numbers.
func digestTree(dir string, ignore []string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		for _, p := range ignore {
			byBase, _ := filepath.Match(p, filepath.Base(rel))
			byPath, _ := filepath.Match(p, rel)
			if byBase || byPath {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		files[rel], err = describe(path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("oracle: look at what the run left: %w", err)
	}
	return files, nil
}

func describe(path string) (string, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	switch {
	case fi.Mode().IsRegular():
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%v %d bytes %x", fi.Mode(), len(b), sha256.Sum256(b)), nil
	case fi.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return "link to " + to, err
	default:
		return fi.Mode().String(), nil
	}
}

// makeDir makes a directory that belongs to the user.
func makeDir(dir string, u User) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	if u.Switch {
		if err := os.Lchown(dir, int(u.UID), int(u.GID)); err != nil {
			return fmt.Errorf("oracle: give the directory to %s: %w", u.Name, err)
		}
	}
	return nil
}

// giveTree gives all that a set-up made to the user.
func giveTree(dir string, u User) error {
	if !u.Switch {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(u.UID), int(u.GID))
	})
}

func copyFile(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}
