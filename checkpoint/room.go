package checkpoint

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"homing/internal/fault"
)

// A machine that runs out of memory ends programs at random: who is to arrive is
// refused before.

// spare is what must be left when a program has arrived.
const spare = 16 << 20

// Room tells whether a program with so much memory can come here.
func Room(need uint64) error {
	free, ok := available()
	if !ok || need+spare <= free {
		return nil
	}
	return fmt.Errorf("not enough memory: it has %s, and of what is free (%s) %s are kept for the machine; choose another place, or end something there",
		mebibytes(need), mebibytes(free), mebibytes(spare))
}

// RoomLeft tells whether more of a program can come.
func RoomLeft() error {
	free, ok := available()
	if !ok || free > spare {
		return nil
	}
	return fmt.Errorf("memory has run out while it came: %s are free, and %s are kept for the machine; choose another place, or end something there",
		mebibytes(free), mebibytes(spare))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// available is how much memory programs can still get; ok is false if the kernel
// does not say.
func available() (n uint64, ok bool) {
	if v, given := fault.Value("memory.available"); given {
		n, err := strconv.ParseUint(v, 10, 64)
		return n, err == nil
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		var key string
		var kib uint64
		if _, err := fmt.Sscan(string(line), &key, &kib); err != nil {
			continue
		}
		switch key {
		case "MemAvailable:":
			n, ok = n+kib<<10, true
		case "SwapFree:":
			n += kib << 10
		}
	}
	return n, ok
}
