package node

import (
	"bufio"
	"os"
	"os/user"
	"runtime"
	"strings"
	"sync"
	"time"

	"homing/kkc"

	"golang.org/x/sys/unix"
)

// A home that only wants to be admitted says so, and gets no pod.
const (
	factPurpose = "purpose"
	purposeJoin = "join"
)

// NewHello is how this machine introduces itself.
func NewHello(role, name, version string) kkc.Hello {
	return kkc.Hello{
		Version: version,
		Role:    role,
		Name:    name,
		Kernel:  kernelRelease(),
		Arch:    runtime.GOARCH,
		CPU:     cpuFlags(),
		Clock:   time.Now().UnixNano(),
	}
}

// HomeHello is how a home introduces itself to its nodes, on each occasion alike.
func HomeHello(version string) kkc.Hello { return NewHello(kkc.RoleHome, homeName(), version) }

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// cpuFlags are the features of the first processor, proc_cpuinfo(5). They do
// not change while the system runs.
var cpuFlags = sync.OnceValue(func() []string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "flags"); ok {
			if _, flags, ok := strings.Cut(rest, ":"); ok {
				return strings.Fields(flags)
			}
		}
	}
	return nil
})

// defaultName is what a node is called unless it is told.
func defaultName() string {
	if name, err := os.Hostname(); err == nil {
		name, _, _ = strings.Cut(name, ".")
		return cleanName(name)
	}
	return "unnamed"
}

// homeName is what a home calls itself: user@host.
func homeName() string {
	name := "user"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return cleanName(name + "@" + defaultName())
}
