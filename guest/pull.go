package guest

import (
	"context"
	"errors"
	"os"
	"strings"

	"homing/checkpoint/transfer"
	"homing/internal/protocol"
)

// Post-copy: a process runs here while memory of it is still elsewhere. A page
// that it touches is fetched first (package transfer). Before the process moves
// on, and where its children could not share that, everything is fetched.

// pull is told that memory of an arrived process is to come yet, over the
// connection of move m.
func (pr *proc) pull(p *pod, puller *transfer.Puller, m *transferring) {
	pr.mu.Lock()
	pr.puller, pr.pulled = puller, make(chan struct{})
	pulled := pr.pulled
	pr.mu.Unlock()
	go func() {
		err := puller.Wait()
		m.close()
		pr.mu.Lock()
		pr.puller = nil
		over := pr.replaced || pr.exiting
		pr.mu.Unlock()
		close(pulled)
		if err != nil && !over && !errors.Is(err, transfer.ErrStopped) {
			p.log.Error("memory of a process is lost", "pid", pr.pid, "err", err)
			p.out.Send(protocol.Died, protocol.DiedMessage{PID: pr.pid, Gen: pr.gen, Reason: "its memory was lost with where it came from: " + err.Error()})
			p.killGuest(pr)
		}
	}()
}

// complete waits until all memory of a process is here.
func (pr *proc) complete(ctx context.Context) error {
	pr.mu.Lock()
	puller := pr.puller
	pr.mu.Unlock()
	if puller == nil {
		return nil
	}
	return puller.Finish(ctx)
}

// stopPulling ends the fetching of memory that nobody needs any more.
func (pr *proc) stopPulling() {
	pr.mu.Lock()
	puller := pr.puller
	pr.mu.Unlock()
	if puller != nil {
		puller.Stop()
	}
}

// mustComplete tells whether a process cannot fork before its memory is here.
func (pr *proc) mustComplete() bool {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	return pr.puller != nil && !pr.puller.Forks()
}

// unprivilegedFaults tells whether any process may make a userfaultfd that serves
// the kernel's accesses, too.
func unprivilegedFaults() bool {
	b, err := os.ReadFile("/proc/sys/vm/unprivileged_userfaultfd")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}
