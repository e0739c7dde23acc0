package oracle_test

import (
	"path/filepath"
	"testing"

	"homing/internal/oracle"
)

// victims compiles testdata and gives a case for each program.
func victims(t *testing.T, u oracle.User) (cases []oracle.Case, serial map[string]bool) {
	vs, err := oracle.Victims("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(suite.Dir, "victims")
	if err := oracle.CompileVictims(vs, bin); err != nil {
		t.Fatal(err)
	}
	serial = map[string]bool{}
	for _, v := range vs {
		cases = append(cases, v.Case(bin, filepath.Join(suite.Dir, u.Name, v.Name)))
		serial[v.Name] = v.Serial
	}
	return cases, serial
}

// TestVictims shows each behaviour of testdata native and away.
func TestVictims(t *testing.T) {
	cases, serial := victims(t, oracle.Self())
	as(t, oracle.Self(), cases, func(c oracle.Case) bool { return serial[c.Name] })
}

// TestVictimsOrdinaryUser does the same with everything, the node too, run by an ordinary user.
func TestVictimsOrdinaryUser(t *testing.T) {
	cases, serial := victims(t, oracle.Nobody())
	if testing.Short() {
		cases = every(cases, 5)
	}
	as(t, oracle.Nobody(), cases, func(c oracle.Case) bool { return serial[c.Name] })
}

// every is each n-th case: a sample.
func every(cases []oracle.Case, n int) (some []oracle.Case) {
	for i := 0; i < len(cases); i += n {
		some = append(some, cases[i])
	}
	return some
}
