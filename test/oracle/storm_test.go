package oracle_test

import (
	"os"
	"strings"
	"testing"

	"homing/internal/oracle"
)

// storm moves cases at random among home and two nodes until they end. With -short it takes each n-th of them.
func storm(t *testing.T, u oracle.User, cases []oracle.Case, short int, serial func(oracle.Case) bool) {
	if u.Switch && os.Getuid() != 0 {
		t.Skip("only root can run tests as another user; what you ran until now was as an ordinary user anyway")
	}
	if suite.Homing == "" {
		t.Skip("nothing to move")
	}
	seed, err := oracle.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		cases = every(cases, short)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if serial == nil || !serial(c) {
				t.Parallel()
			}
			suite.RunMoved(t, u, c, seed)
		})
	}
}

// moving are the victims that watch something while they are moved; the others are victims of moves all the same.
func moving(cases []oracle.Case, itself bool) (some []oracle.Case) {
	for _, c := range cases {
		if strings.HasPrefix(c.Name, "moved_") == itself {
			some = append(some, c)
		}
	}
	return some
}

// TestMovedState shows each piece of a process's state while the process is moved: docs/state.md lists them.
func TestMovedState(t *testing.T) {
	cases, serial := victims(t, oracle.Self())
	storm(t, oracle.Self(), moving(cases, true), 5, func(c oracle.Case) bool { return serial[c.Name] })
}

// TestMovedStateOrdinaryUser does the same, for some of them, as an ordinary user.
func TestMovedStateOrdinaryUser(t *testing.T) {
	cases, serial := victims(t, oracle.Nobody())
	storm(t, oracle.Nobody(), every(moving(cases, true), 3), 4, func(c oracle.Case) bool { return serial[c.Name] })
}

// TestStormVictims moves the victims that know nothing of moves.
func TestStormVictims(t *testing.T) {
	cases, serial := victims(t, oracle.Self())
	storm(t, oracle.Self(), moving(cases, false), 10, func(c oracle.Case) bool { return serial[c.Name] })
}

// TestStormPrograms moves what people run.
func TestStormPrograms(t *testing.T) { storm(t, oracle.Self(), programs(t), 6, nil) }

// TestStormProgramsOrdinaryUser does the same, for some of them, as an ordinary user.
func TestStormProgramsOrdinaryUser(t *testing.T) {
	storm(t, oracle.Nobody(), every(programs(t), 3), 4, nil)
}

// TestStormTerminals moves programs on a terminal.
func TestStormTerminals(t *testing.T) { storm(t, oracle.Self(), terminals(), 5, nil) }
