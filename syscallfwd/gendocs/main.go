// Command gendocs writes the documents that are generated from the table of
// system calls. It is run by go generate.
package main

import (
	"bytes"
	"fmt"
	"os"

	"homing/syscallfwd"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs FILE")
		os.Exit(2)
	}
	var b bytes.Buffer
	if err := syscallfwd.RenderMarkdown(&b); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[1], b.Bytes(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}
