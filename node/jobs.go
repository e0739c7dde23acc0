package node

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A JobRequest is one line to a supervisor's socket, STATE/jobs/PID.sock.
type JobRequest struct {
	Op   string       `json:"op"`             // "ps"; "move"; "release": bring home and let go
	Move *MoveRequest `json:"move,omitempty"` // with "move" and "release"
}

// A JobReply is the supervisor's one line in return to "ps"; to the others it
// answers MoveLines.
type JobReply struct {
	Processes []Process `json:"processes"`
	Error     string    `json:"error,omitempty"`
}

// A Process is one process of a job.
type Process struct {
	PID        int     `json:"pid"`
	Job        int     `json:"job"`                // pid of the program that `homing run` started
	Node       string  `json:"node"`               // where it runs or was last; empty if it never left
	Where      string  `json:"where"`              // "home" or "away"
	Attached   bool    `json:"attached,omitempty"` // its job was adopted by `homing attach`
	Moves      int     `json:"moves"`              // made so far
	Command    string  `json:"command"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Calls      uint64  `json:"calls"`               // forwarded
	CameHome   string  `json:"came_home,omitempty"` // why
}

// jobLimit bounds how long a supervisor may take to answer.
const jobLimit = 2 * time.Second

const maxJobReply = 16 << 20

// Jobs asks all supervisors of a state directory for their processes. Sockets
// of supervisors that are gone are removed. The error joins those of the
// supervisors that did not answer; what others said is returned with it.
func Jobs(dir string) ([]Process, error) {
	socks, err := filepath.Glob(filepath.Join(dir, jobsDir, "*.sock"))
	if err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		all  []Process
		errs error
	)
	for _, sock := range socks {
		wg.Go(func() {
			ps, err := askJob(sock)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, ps...)
			errs = errors.Join(errs, err)
		})
	}
	wg.Wait()
	return onceEach(all), errs
}

// onceEach sorts processes by number and names each once. A program that was
// started by homing under another one's program appears in both jobs; it is
// moved by that which has sent it away, or has started it.
func onceEach(all []Process) []Process {
	rank := func(p Process) int {
		switch {
		case p.Where == "away":
			return 0
		case p.Job == p.PID:
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b Process) int {
		return cmp.Or(a.PID-b.PID, rank(a)-rank(b), b.Job-a.Job)
	})
	return slices.CompactFunc(all, func(a, b Process) bool { return a.PID == b.PID })
}

func askJob(sock string) ([]Process, error) {
	c, err := net.DialTimeout("unix", sock, jobLimit)
	if errors.Is(err, unix.ECONNREFUSED) {
		_ = os.Remove(sock) // its supervisor is gone
		return nil, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask supervisor %s: %w", filepath.Base(sock), err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(jobLimit))
	if err := json.NewEncoder(c).Encode(JobRequest{Op: "ps"}); err != nil {
		return nil, fmt.Errorf("ask supervisor %s: %w", filepath.Base(sock), err)
	}
	line, err := bufio.NewReader(io.LimitReader(c, maxJobReply)).ReadBytes('\n')
	if len(line) == 0 && (errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET)) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, fmt.Errorf("supervisor %s does not answer: %w", filepath.Base(sock), err)
	}
	var rep JobReply
	if err := json.Unmarshal(line, &rep); err != nil {
		return nil, fmt.Errorf("supervisor %s: %w", filepath.Base(sock), err)
	}
	if rep.Error != "" {
		return nil, fmt.Errorf("supervisor %s: %s", filepath.Base(sock), rep.Error)
	}
	return rep.Processes, nil
}
