package oracle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Victim is a small C program of testdata, which shows one behaviour. Lines ` * oracle: KEY VALUE` in its leading
// comment say how it is to be run:
//
//	cflags FLAGS    added to the compiler's
//	args ARGS       arguments; %d is the directory of the run, %v the directory of all victims
//	stdin TEXT      standard input (Go escapes)
//	home REASON     it must come home for this reason
//	mayhome         it may come home: that is not its subject
//	root            it makes sense for root only
//	with VICTIM     that victim must be there too, at %v/VICTIM
//	timeout D       how long a run may take
//	serial          it measures time, and nothing else may run beside it
//	nodes           it is moved among nodes only, because it would notice home
//	still REASON    it is not moved
//	stays REASON    it may be at a place, for that reason, that a move refuses to take it from
type Victim struct {
	Name   string
	Serial bool
	with   []string
	source string
	cflags []string
	c      Case
}

var directive = regexp.MustCompile(`(?m)^ \* oracle: (\w+) ?(.*?)(?: \*/)?$`)

// Victims reads the programs of a folder.
func Victims(folder string) ([]*Victim, error) {
	sources, err := filepath.Glob(filepath.Join(folder, "*.c"))
	if err != nil || len(sources) == 0 {
		return nil, fmt.Errorf("oracle: no victims in %s: %w", folder, err)
	}
	var vs []*Victim
	for _, src := range sources {
		v, err := readVictim(src)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	return vs, nil
}

func readVictim(src string) (*Victim, error) {
	b, err := os.ReadFile(src)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	v := &Victim{Name: strings.TrimSuffix(filepath.Base(src), ".c"), source: src}
	v.c.Name = v.Name
	head, _, _ := strings.Cut(string(b), "*/")
	for _, m := range directive.FindAllStringSubmatch(head, -1) {
		val := strings.TrimSpace(m[2])
		switch m[1] {
		case "cflags":
			v.cflags = strings.Fields(val)
		case "args":
			v.c.Argv = strings.Fields(val)
		case "stdin":
			v.c.Stdin = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(val)
		case "home":
			v.c.Home = val
		case "mayhome":
			v.c.MayComeHome = true
		case "root":
			v.c.Root = true
		case "with":
			v.with = strings.Fields(val)
		case "serial":
			v.Serial = true
		case "nodes":
			v.c.NodesOnly = true
		case "still":
			v.c.Still = val
		case "stays":
			v.c.Stays = val
		case "timeout":
			if v.c.Timeout, err = time.ParseDuration(val); err != nil {
				return nil, fmt.Errorf("oracle: %s: %w", src, err)
			}
		default:
			return nil, fmt.Errorf("oracle: %s: unknown directive %q", src, m[1])
		}
	}
	return v, nil
}

// Case is the victim as a case, with the program compiled into the folder bin.
func (v *Victim) Case(bin, dir string) Case {
	c := v.c
	c.Argv = []string{filepath.Join(bin, v.Name)}
	for _, a := range v.c.Argv {
		c.Argv = append(c.Argv, strings.NewReplacer("%d", dir, "%v", bin).Replace(a))
	}
	return c
}

// CompileVictims compiles all that is not yet in the cache, and puts all programs into the folder bin.
func CompileVictims(vs []*Victim, bin string) error {
	cache := filepath.Join(os.TempDir(), fmt.Sprintf("homing-oracle-%d", os.Getuid()))
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(vs))
	two := make(chan struct{}, 2)
	for i, v := range vs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			two <- struct{}{}
			defer func() { <-two }()
			errs[i] = v.compile(cache, bin)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (v *Victim) compile(cache, bin string) error {
	h := sha256.New()
	for _, name := range []string{v.source, filepath.Join(filepath.Dir(v.source), "victim.h")} {
		b, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("oracle: %w", err)
		}
		h.Write(b)
	}
	cached := filepath.Join(cache, fmt.Sprintf("%s-%x", v.Name, h.Sum(nil)[:12]))
	if _, err := os.Stat(cached); err != nil {
		args := append([]string{"-O1", "-g", "-w", "-Werror=implicit-function-declaration", "-pthread", "-o", cached + ".new", v.source}, v.cflags...)
		args = append(args, "-lrt", "-lm")
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("oracle: compile %s: %w\n%s", v.Name, err, out)
		} else if len(out) > 0 {
			return fmt.Errorf("oracle: compile %s: warnings\n%s", v.Name, out)
		}
		if err := os.Rename(cached+".new", cached); err != nil {
			return fmt.Errorf("oracle: %w", err)
		}
	}
	return copyFile(cached, filepath.Join(bin, v.Name), 0o755)
}
