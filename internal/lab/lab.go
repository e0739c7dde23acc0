package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// MaxNodes bounds a lab; each node is a process and a set of namespaces.
const MaxNodes = 64

// DirVariable is the environment variable by which the command is told the lab's
// directory. In it are DirectFile and, for each node, a directory of its name
// with the socket ControlSocket.
const DirVariable = "HOMING_LAB_DIR"

// ControlSocket is the name that the socket of a node's owner has in the state
// directory of any node.
const ControlSocket = "node.sock"

// startLimit is how long a node may take until it says that it is ready.
const startLimit = 20 * time.Second

// stopLimit is how long a node may take to write its report after SIGTERM.
const stopLimit = 5 * time.Second

// A TrustFunc makes home and a node known to each other: home's state directory
// gets the node's name, address and key, the node's state directory gets its
// identity and home's key. Both directories exist.
type TrustFunc func(homeState, nodeState, name, addr string) error

// Config describes a lab. Zero values mean what is said at each field.
type Config struct {
	Nodes   int           // how many nodes, named n1, n2, …; at least 1
	Delay   time.Duration // one-way delay between home and each node, and between two nodes; 0: none
	Direct  string        // what DirectFile says at first; empty: yes
	Report  string        // file for the JSON report; empty: none
	Log     string        // file to which the nodes' logs are appended; empty: kept only to explain a failure
	Command []string      // what to run; must not be empty

	Trust TrustFunc

	Stdin          *os.File // the command's; nil: the lab's own
	Stdout, Stderr *os.File
}

// A NotRunError says that the command could not be started.
type NotRunError struct {
	Program string
	Err     error // exec.ErrNotFound, os.ErrPermission, …
}

func (e *NotRunError) Error() string { return fmt.Sprintf("run %s: %v", e.Program, e.Err) }
func (e *NotRunError) Unwrap() error { return e.Err }

// Run starts the nodes, runs the command, ends the nodes and returns the
// command's exit status as a shell shows it: 128 plus the signal's number for a
// command ended by a signal. The error is the lab's own.
func Run(ctx context.Context, cfg Config) (status int, err error) {
	// PR_SET_PDEATHSIG is tied to the thread that forked (package comment).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := cfg.check(); err != nil {
		return 0, err
	}
	program, err := lookProgram(cfg.Command[0])
	if err != nil {
		return 0, err
	}
	site, err := newSite(os.TempDir())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, site.remove()) }()

	board, err := newSwitchboard(site, cfg.Direct)
	if err != nil {
		return 0, err
	}
	nodes, err := startNodes(ctx, &cfg, site, board)
	defer stopAll(nodes)
	if err != nil {
		return 0, err
	}

	began := time.Now()
	status, err = runCommand(ctx, &cfg, program, withEnv("HOMING_STATE", site.home, DirVariable, site.dir))
	if err != nil {
		return 0, err
	}
	wall := time.Since(began)

	stopAll(nodes)
	rep := newReport(&cfg, status, wall, nodes)
	for _, n := range nodes {
		if n.early != nil {
			fmt.Fprintf(cfg.Stderr, "homing: lab: node %s ended before the command did: %v; its last words: %s\n", n.name, n.early, n.lastWords())
		}
	}
	if cfg.Report != "" {
		if err := rep.write(cfg.Report); err != nil {
			return status, err
		}
	}
	return status, nil
}

// withEnv is our environment with variables set: each once, for of two the
// command would see the first.
func withEnv(namesAndValues ...string) []string {
	env := os.Environ()
	for nv := range slices.Chunk(namesAndValues, 2) {
		set := nv[0] + "="
		env = append(slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, set) }), set+nv[1])
	}
	return env
}

func (cfg *Config) check() error {
	switch {
	case cfg.Nodes < 1 || cfg.Nodes > MaxNodes:
		return fmt.Errorf("--nodes %d: a lab has 1 to %d nodes", cfg.Nodes, MaxNodes)
	case cfg.Delay < 0 || cfg.Delay > 10*time.Second:
		return fmt.Errorf("--delay %v: must be between 0 and 10s", cfg.Delay)
	case len(cfg.Command) == 0:
		return errors.New("no command given; write: homing lab --nodes 2 -- CMD ARGS")
	case cfg.Trust == nil:
		return errors.New("no way to introduce the nodes (Config.Trust is nil)")
	}
	if cfg.Stdin == nil {
		cfg.Stdin = os.Stdin
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	return nil
}

// startNodes starts all nodes at once and waits until each is ready. The nodes
// that were started are returned in any case.
func startNodes(ctx context.Context, cfg *Config, site *site, board *switchboard) ([]*nodeProc, error) {
	var nodes []*nodeProc
	for i := 1; i <= cfg.Nodes; i++ {
		n, err := startNode(cfg, site, board, fmt.Sprintf("n%d", i))
		if err != nil {
			return nodes, fmt.Errorf("start node n%d: %w", i, err)
		}
		nodes = append(nodes, n)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, n := range nodes {
		if err := n.waitReady(ctx); err != nil {
			return nodes, fmt.Errorf("node %s did not start: %w; `homing doctor` says what this kernel lacks", n.name, err)
		}
	}
	return nodes, nil
}

// listenHome opens the port at which home reaches a node. It returns the address
// for home, the socket for the node, and, with a delay, the relay between them.
func listenHome(delay time.Duration) (addr string, sock *os.File, relay io.Closer, err error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", nil, nil, err
	}
	defer l.Close()
	if sock, err = l.File(); err != nil {
		return "", nil, nil, err
	}
	addr = l.Addr().String()
	if delay == 0 {
		return addr, sock, nil, nil
	}
	r, err := startRelay(addr, delay)
	if err != nil {
		sock.Close()
		return "", nil, nil, err
	}
	return r.Addr().String(), sock, r, nil
}

// stateDir makes a state directory, readable by the user alone.
func stateDir(parts ...string) (string, error) {
	dir := filepath.Join(parts...)
	return dir, os.MkdirAll(dir, 0o700)
}
