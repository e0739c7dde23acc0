// Package oracle_test runs the oracle's cases: victims of testdata, and programs people use.
//
// The binary under test is $HOMING, or is built here. ORACLE=native checks only that the cases themselves are
// deterministic natively (`-count=20`), without homing. ORACLE_DELAY=2ms puts the nodes that far away. ORACLE_SEED, which a
// failure tells, makes the same random choices again.
package oracle_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"homing/internal/oracle"
)

var suite *oracle.Suite

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	homing, clean, err := binary()
	if err != nil {
		return 1, err
	}
	defer clean()
	suite, err = oracle.NewSuite(homing)
	if err != nil {
		return 1, err
	}
	suite.Delay = os.Getenv("ORACLE_DELAY")
	defer func() {
		if cerr := suite.Close(); err == nil {
			err = cerr
		}
	}()
	code = m.Run()
	if moves := &suite.Moves; moves.Moved() > 0 {
		fmt.Println(moves)
	}
	return code, nil
}

// binary is the homing to test: the one named, or one built now.
func binary() (path string, clean func(), err error) {
	none := func() {}
	if os.Getenv("ORACLE") == "native" {
		return "", none, nil
	}
	if path := os.Getenv("HOMING"); path != "" {
		return path, none, nil
	}
	dir, err := os.MkdirTemp("", "homing-build-")
	if err != nil {
		return "", none, err
	}
	path = filepath.Join(dir, "homing")
	out, err := exec.Command("go", "build", "-o", path, "homing/cmd/homing").CombinedOutput()
	if err != nil {
		return "", none, fmt.Errorf("build homing: %w\n%s", err, out)
	}
	return path, func() { os.RemoveAll(dir) }, nil
}

// as runs cases for one user, one subtest each, in parallel unless they measure time.
func as(t *testing.T, u oracle.User, cases []oracle.Case, serial func(oracle.Case) bool) {
	if u.Switch && os.Getuid() != 0 {
		t.Skip("only root can run tests as another user; what you ran until now was as an ordinary user anyway")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if serial == nil || !serial(c) {
				t.Parallel()
			}
			suite.Run(t, u, c)
		})
	}
}
