// Package oracle proves that a program away behaves as it does at home: Linux is the oracle.
//
// A [Case] is one program (or several that talk to each other) with its files and input. [Suite.Run] tells its story:
//
//  1. A fresh directory is made at a fixed path and the case's files are set up in it.
//  2. The case runs natively. What it wrote, how it ended and what files it left are its [Result].
//  3. The directory is emptied and set up again, at the same path, so that names in the output agree.
//  4. The same case runs with every program behind `homing run --on n1 --`, in a lab with one execution node.
//  5. Both results must be equal byte for byte. A case may declare a normalisation where output is a measurement.
//  6. The away run must have computed away: the lab's own report, and the processor time the home kernel charged to
//     the shadow, both have to say so. A case that is to come home must have come home, for its declared reason.
//  7. Nothing of the run may be left: every process is found by a mark in its environment.
//
// A run that does not end in time is killed, with stacks of the supervisors and the kernel's view of every process
// of the run in the failure message.
//
// [Suite.RunMoved] is the same for a program that is moved at random among home and two nodes for as long as it runs.
// Besides, no move may fail, and the nodes must hold no more afterwards than before: descriptors, processes, mounts, files.
//
// Nothing here knows how Homing works; it knows the command line, the report, and the supervisors' socket.
package oracle

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/node"
)

// A Case is one behaviour, to be shown native and away.
type Case struct {
	Name string

	// Argv is the program. Body is used instead where one program is not enough, or needs a terminal or a peer.
	Argv []string
	Body func(*Run)

	Stdin string
	Env   []string               // added to the fixed environment
	Setup func(dir string) error // files, made anew for each run

	// Home, if not empty, is a part of the reason for which the program has to come home. All other cases must stay away.
	Home string
	// MayComeHome accepts a program that is brought home by something which is not this case's subject.
	MayComeHome bool
	// AtHome says that nothing of it gets as far as leaving.
	AtHome      bool
	Root        bool                // makes sense for root only
	Needs       []string            // programs; absent ones skip, or fail when CI is set
	Timeout     time.Duration       // for each run; 0 means DefaultTimeout
	Normalise   func(string) string // applied to each recorded text
	IgnoreFiles []string            // filepath.Match patterns, of the base name or the path, of files not to compare

	// NodesOnly, Still, Stays and Route are for runs that are moved, see [Suite.RunMoved].
	NodesOnly bool     // not to home
	Still     string   // not at all, for this reason
	Stays     string   // moves may be refused, for this reason
	Route     []string // round and round, all processes together; empty: at random

	moved bool // by RunMoved
}

// DefaultTimeout bounds each run of a case that does not say otherwise.
const DefaultTimeout = 30 * time.Second

// A User is who runs the programs, homing and the execution node.
type User struct {
	Name     string
	UID, GID uint32
	Switch   bool // this process has to change to that user
}

// Self is the user who runs the tests.
func Self() User {
	return User{Name: "self", UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
}

// Nobody is an ordinary user, to whom only root can change.
func Nobody() User {
	return User{Name: "nobody", UID: 65534, GID: 65534, Switch: true}
}

func (u User) credential() *syscall.Credential {
	if !u.Switch {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID}
}

// A Place is where programs compute. The zero Place is home: the program runs natively.
type Place struct {
	Lab  *Lab
	Node string // node.AtHome: by homing, but at home
}

func (p Place) String() string {
	if p.Lab == nil {
		return "native"
	}
	return "away"
}

// argv puts the program behind homing where it is to compute away.
func (p Place) argv(argv []string) []string {
	if p.Lab == nil {
		return argv
	}
	run := []string{p.Lab.homing, "run", "--on", p.Node, "--"}
	if p.Node == node.AtHome {
		run = []string{p.Lab.homing, "run", "--"}
	}
	return append(run, argv...)
}

// A Suite shares a directory, the binary under test and one lab for each user among many cases.
type Suite struct {
	Homing string // the binary; empty: only the native half runs
	Dir    string // readable by everybody
	// EachLab starts a lab for every single case, so that its report speaks of that case alone.
	EachLab bool
	// Delay is the one-way delay between home and nodes, such as 2ms: other orders of events than on one machine.
	Delay string

	Moves Moves // by RunMoved

	labs map[User]*Lab
}

// NewSuite makes a suite with its own directory and its own copy of the binary, which others may rebuild meanwhile.
func NewSuite(homing string) (*Suite, error) {
	dir, err := os.MkdirTemp("", "oracle-")
	if err != nil {
		return nil, fmt.Errorf("oracle: make the suite's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("oracle: open the suite's directory to ordinary users: %w", err)
	}
	s := &Suite{Dir: dir, EachLab: true, labs: map[User]*Lab{}}
	if homing != "" {
		s.Homing = filepath.Join(dir, "homing")
		if err := copyFile(homing, s.Homing, 0o755); err != nil {
			return nil, fmt.Errorf("oracle: copy the binary: %w", err)
		}
	}
	return s, nil
}

// Close ends the labs and removes the suite's directory.
func (s *Suite) Close() error {
	var errs []error
	for _, lab := range s.labs {
		if _, err := lab.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lab is the lab a case of that user runs in, and what to do with it afterwards.
func (s *Suite) lab(u User) (lab *Lab, done func() (*Report, error), err error) {
	if s.EachLab {
		lab, err := StartLab(s.Homing, s.Dir, u, 1, s.Delay)
		if err != nil {
			return nil, nil, err
		}
		return lab, lab.Close, nil
	}
	if lab := s.labs[u]; lab != nil && lab.Alive() {
		return lab, func() (*Report, error) { return nil, nil }, nil
	}
	lab, err = StartLab(s.Homing, s.Dir, u, 1, s.Delay)
	if err != nil {
		return nil, nil, err
	}
	s.labs[u] = lab
	return lab, func() (*Report, error) { return nil, nil }, nil
}

// prepare skips a case that cannot run here, and chooses its directory and its mark.
func (s *Suite) prepare(t *testing.T, u User, c Case) (dir, mark string) {
	t.Helper()
	for _, p := range c.Needs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed; `make deps` installs all that the tests need", p)
			}
			t.Skipf("%s is not installed", p)
		}
	}
	if c.Root && u.UID != 0 {
		t.Skip("only root may do this")
	}
	base := filepath.Join(s.Dir, u.Name)
	if err := makeDir(base, u); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, strings.ReplaceAll(c.Name, "/", "-")), newMark()
}

// Run shows one case natively and away, and fails t where they differ.
func (s *Suite) Run(t *testing.T, u User, c Case) {
	t.Helper()
	dir, mark := s.prepare(t, u, c)
	defer os.RemoveAll(dir)
	native, err := s.runAt(Place{}, u, c, dir, mark)
	if err != nil {
		t.Fatalf("the native run, which is the measure, failed: %v", err)
	}
	if s.Homing == "" { // then the case itself is what is tested: is it the same each time?
		again, err := s.runAt(Place{}, u, c, dir, mark)
		if err != nil {
			t.Fatalf("the second native run failed: %v", err)
		}
		for _, d := range native.diff(again) {
			t.Error(d)
		}
		return
	}
	lab, done, err := s.lab(u)
	if err != nil {
		t.Fatal(err)
	}
	away, err := s.runAt(Place{Lab: lab, Node: "n1"}, u, c, dir, mark)
	if err != nil {
		t.Errorf("away: %v\n%s", err, lab.Log())
	}
	report, rerr := done()
	if rerr != nil {
		t.Errorf("the lab: %v", rerr)
	}
	if err != nil {
		return
	}
	for _, d := range native.diff(away) {
		t.Error(d)
	}
	defer func() {
		if t.Failed() {
			t.Log(lab.Log())
		}
	}()
	if report != nil {
		for _, d := range report.judge(c) {
			t.Error(d)
		}
	}
	if d := awayTime(native, away, c); d != "" {
		t.Error(d)
	}
}

// runAt does one run in a fresh directory and makes sure that nothing stays behind.
func (s *Suite) runAt(p Place, u User, c Case, dir, mark string) (res *Result, err error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir, u); err != nil {
		return nil, err
	}
	if c.Setup != nil {
		if err := c.Setup(dir); err != nil {
			return nil, fmt.Errorf("set-up: %w", err)
		}
		if err := giveTree(dir, u); err != nil {
			return nil, err
		}
	}
	r := newRun(p, u, c, dir, mark)
	defer r.end()
	if err := r.do(); err != nil {
		return nil, err
	}
	if left := r.leftovers(3 * time.Second); left != "" {
		return nil, fmt.Errorf("processes left behind:\n%s", left)
	}
	r.res.Files, err = digestTree(dir, c.IgnoreFiles)
	return r.res, err
}

// awayTime looks at what no report can gloss over: the processor time the home kernel charged to the program.
func awayTime(native, away *Result, c Case) string {
	const enough = 500 * time.Millisecond // of native user time, to be told apart from the cost of forwarding
	if c.Home != "" || c.MayComeHome || native.User < enough || away.User < native.User/2 {
		return ""
	}
	return fmt.Sprintf("computed at home: the home kernel charged %v user time to the away run, %v to the native one", away.User, native.User)
}
