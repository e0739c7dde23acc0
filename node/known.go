package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"homing/kkc"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"
)

// A Known node is one that this home has joined.
type Known struct {
	Name        string    `toml:"-"`
	Addr        string    `toml:"addr"`
	Fingerprint string    `toml:"key"`
	Joined      time.Time `toml:"joined"`
}

// nodesDoc is nodes.toml.
type nodesDoc struct {
	Node map[string]Known `toml:"node"`
}

func readNodes(dir string) (nodesDoc, error) {
	var doc nodesDoc
	path := filepath.Join(dir, nodesFile)
	if _, err := toml.DecodeFile(path, &doc); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return doc, fmt.Errorf("read the known nodes: %s: %w; correct the file, or remove it and join again", path, err)
	}
	return doc, nil
}

// Nodes lists the known nodes by name.
func Nodes(dir string) ([]Known, error) {
	doc, err := readNodes(dir)
	if err != nil {
		return nil, err
	}
	var all []Known
	for _, name := range slices.Sorted(maps.Keys(doc.Node)) {
		k := doc.Node[name]
		k.Name = name
		all = append(all, k)
	}
	return all, nil
}

// Lookup finds a known node by its name.
func Lookup(dir, name string) (Known, error) {
	all, err := Nodes(dir)
	if err != nil {
		return Known{}, err
	}
	var names []string
	for _, k := range all {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	have := "no node is known"
	if len(names) > 0 {
		have = "known: " + strings.Join(names, ", ")
	}
	return Known{}, fmt.Errorf("node %q: unknown (%s); get a token there (homing node token) and run: homing join TOKEN", name, have)
}

// Remember adds a node to those known, or replaces the one of its name.
func Remember(dir string, k Known) error {
	unlock, err := lockNodes(dir)
	if err != nil {
		return err
	}
	defer unlock()
	doc, err := readNodes(dir)
	if err != nil {
		return err
	}
	if doc.Node == nil {
		doc.Node = map[string]Known{}
	}
	doc.Node[k.Name] = k
	return writeFile(filepath.Join(dir, nodesFile), func(w io.Writer) error {
		if _, err := io.WriteString(w, "# The nodes that this home knows; written by homing join.\n\n"); err != nil {
			return err
		}
		return toml.NewEncoder(w).Encode(doc)
	})
}

// lockNodes keeps others from changing nodes.toml between our reading and our
// writing it.
func lockNodes(dir string) (unlock func(), err error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, nodesLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the known nodes: %w; give --state DIR for a place where you may write", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the known nodes: %w", err)
	}
	return func() { f.Close() }, nil
}

// Join contacts the node of a join token, has this home admitted there, and
// remembers the node, under name if that is not empty.
func Join(ctx context.Context, dir, token, name, version string) (Known, error) {
	t, err := kkc.ParseToken(token)
	if err != nil {
		return Known{}, err
	}
	id, err := kkc.LoadIdentity(dir)
	if err != nil {
		return Known{}, err
	}
	if name == "" {
		name = cleanName(t.Name)
	}
	if err := checkFree(dir, name, t.Fingerprint); err != nil {
		return Known{}, err
	}
	hello := HomeHello(version)
	hello.Secret = t.Secret
	hello.Facts = map[string]string{factPurpose: purposeJoin}
	sess, err := kkc.Dial(ctx, t.Addr, id, t.Fingerprint, hello)
	if err != nil {
		return Known{}, err
	}
	sess.Start()
	sess.Close("joined")
	k := Known{Name: name, Addr: t.Addr, Fingerprint: t.Fingerprint, Joined: time.Now().UTC().Truncate(time.Second)}
	return k, Remember(dir, k)
}

// checkFree refuses a name that another machine has already, before the token
// is used up.
func checkFree(dir, name, fingerprint string) error {
	if name == AtHome {
		return fmt.Errorf("join: %q means this machine here: give the node another name with --name", name)
	}
	all, err := Nodes(dir)
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Name == name && k.Fingerprint != fingerprint {
			return fmt.Errorf("join: another node is already known as %q (%s): give this one a name with --name", name, k.Addr)
		}
	}
	return nil
}

// Introduce makes a home and a node known to each other by their state
// directories alone, as `homing lab` does with its own nodes.
func Introduce(homeState, nodeState, name, addr string) error {
	home, err := kkc.LoadIdentity(homeState)
	if err != nil {
		return err
	}
	lent, err := kkc.LoadIdentity(nodeState)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	if err := newTrustStore(nodeState).addHome(Home{Name: homeName(), Fingerprint: home.Fingerprint, Since: now}); err != nil {
		return err
	}
	return Remember(homeState, Known{Name: name, Addr: addr, Fingerprint: lent.Fingerprint, Joined: now})
}
