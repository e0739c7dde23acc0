package shadow

import (
	"context"
	"errors"

	"homing/checkpoint/transfer"
	"homing/internal/carry"
	"homing/internal/linux"
	"homing/internal/protocol"
)

// homecoming is the destination of a move: shadows that become processes again.
// Until finish has let them go they can be made shadows again (undo).
type homecoming struct {
	s       *Supervisor
	ctx     context.Context
	reason  string
	objects sharedObjects
	back    []*returning // those that are being rebuilt
}

func (h *homecoming) newBody() carry.Body { return &homeBody{h: h} }

// homeBody is one of them.
type homeBody struct {
	h *homecoming
	r *returning
}

// Build implements carry.Body.
func (b *homeBody) Build(img *protocol.ProcImage) (transfer.Placed, error) {
	s := b.h.s
	r, err := s.receive(img)
	if err != nil {
		return transfer.Placed{}, err
	}
	r.reason = b.h.reason
	if err := s.awaitRelease(b.h.ctx, r.p); err != nil {
		return transfer.Placed{}, err
	}
	if err := s.outcomes(b.h.ctx, r); err != nil {
		return transfer.Placed{}, err
	}
	if err := b.h.objects.make(&img.Image); err != nil {
		return transfer.Placed{}, err
	}
	b.r = r
	b.h.back = append(b.h.back, r)
	if doErr := s.tr.Do(func() { err = s.rebuildMemory(r, b.h.objects) }); doErr != nil {
		return transfer.Placed{}, doErr
	}
	if err != nil {
		return transfer.Placed{}, err
	}
	return transfer.Placed{PID: r.p.pid, Image: &img.Image}, nil
}

var errSketch = errors.New("a process cannot come home in several rounds")

// Change implements carry.Body.
func (b *homeBody) Change(_, _ *protocol.ProcImage) (transfer.Placed, error) {
	return transfer.Placed{}, errSketch
}

// Userfault implements carry.Body.
func (b *homeBody) Userfault() (transfer.Userfault, error) { return transfer.Userfault{}, errSketch }

// Drop implements carry.Body.
func (b *homeBody) Drop([]linux.Range) error { return errSketch }

// finish gives the processes their threads' states and lets them go.
func (h *homecoming) finish() error {
	s := h.s
	var images []protocol.ProcImage
	for _, r := range h.back {
		if err := r.finishCalls(); err != nil {
			return err
		}
		images = append(images, *r.img)
	}
	var err error
	for _, r := range h.back {
		if doErr := s.tr.Do(func() { err = s.rebuildThreads(r) }); doErr != nil {
			return doErr
		}
		if err != nil {
			return err
		}
	}
	s.sharedIsHome(imagesOf(images))
	if doErr := s.tr.Do(func() {
		for _, r := range h.back {
			if e := s.letGo(r); e != nil { // it cannot be but that a thread has died
				s.log.Error("process came home in part", "pid", r.p.pid, "err", e)
			}
		}
	}); doErr != nil {
		return doErr
	}
	return nil
}

// undo makes shadows of what has been rebuilt.
func (h *homecoming) undo() { h.s.emptyAgain(h.back) }
