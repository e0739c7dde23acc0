package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// project copies the C project that is built to a directory of its own: that of
// testdata if there is one, else one made here.
func (b *bench) project() (string, error) {
	dir := filepath.Join(b.dir, "project")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	const given = "testdata/cproject"
	if _, err := os.Stat(filepath.Join(given, "Makefile")); err == nil {
		return dir, os.CopyFS(dir, os.DirFS(given))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return dir, writeProject(dir, 12)
}

// writeProject makes a project of n C files of some 500 lines, a header and a
// main program.
func writeProject(dir string, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string]string{}
	var header, calls, objects strings.Builder
	for i := range n {
		var src strings.Builder
		src.WriteString("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n#include <unistd.h>\n#include \"parts.h\"\n")
		for j := range 40 {
			fmt.Fprintf(&src, "static int part%d_%d(int x)\n{\n\tchar text[64];\n\tint sum = 0;\n\tfor (int i = 0; i < x; i++) {\n"+
				"\t\tsnprintf(text, sizeof text, \"%%d\", i * %d);\n\t\tsum += (int)strlen(text) ^ atoi(text);\n\t\tif (sum %% %d == 0) sum = abs(sum - x);\n\t}\n\treturn sum;\n}\n", i, j, j+3, j+2)
		}
		fmt.Fprintf(&src, "int part%d(int x)\n{\n\tint sum = 0;\n", i)
		for j := range 40 {
			fmt.Fprintf(&src, "\tsum += part%d_%d(x);\n", i, j)
		}
		src.WriteString("\treturn sum;\n}\n")
		files[fmt.Sprintf("part%d.c", i)] = src.String()
		fmt.Fprintf(&header, "int part%d(int x);\n", i)
		fmt.Fprintf(&calls, "\tsum += part%d(10);\n", i)
		fmt.Fprintf(&objects, " part%d.o", i)
	}
	files["parts.h"] = header.String()
	files["main.c"] = "#include <stdio.h>\n#include \"parts.h\"\nint main(void)\n{\n\tint sum = 0;\n" + calls.String() + "\tprintf(\"%d\\n\", sum);\n\treturn 0;\n}\n"
	files["Makefile"] = "OBJECTS := main.o" + objects.String() + "\nCFLAGS := -O2\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $^\n%.o: %.c parts.h\n\t$(CC) $(CFLAGS) -c -o $@ $<\nclean:\n\trm -f program $(OBJECTS)\n.PHONY: clean\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// building is an arm that builds the project from nothing: milliseconds. The
// processor time of each build is added to cpu, if that is given.
func (b *bench) building(name, dir string, cpu *[]float64, env []string, prefix ...string) arm {
	argv := append(prefix, "make", "-s", "-j2", "-C", dir)
	return arm{name, func(ctx context.Context) (float64, error) {
		ctx, cancel := context.WithTimeout(ctx, stepLimit)
		defer cancel()
		if _, _, err := runCommand(ctx, env, "make", "-s", "-C", dir, "clean"); err != nil {
			return 0, fmt.Errorf("make clean: %w", err)
		}
		_, took, err := runCommand(ctx, env, argv...)
		if cpu != nil && err == nil {
			*cpu = append(*cpu, took.cpu)
		}
		return took.wall, err
	}}
}

// makeAtHome: a job that stays at home is to cost nothing.
func (b *bench) makeAtHome(ctx context.Context, r *Row) error {
	dir, err := b.project()
	if err != nil {
		return err
	}
	var ours, native []float64
	stats, err := interleave(ctx, b.rounds(15),
		b.building("run at home", dir, &ours, b.env, b.Homing, "run", "--"),
		b.building("native", dir, &native, b.env))
	if err != nil {
		return err
	}
	r.Figure, r.Baseline = stats[0], stats[1]
	a, n := summarise("", ours), summarise("", native)
	r.Notes = fmt.Sprintf("processor time: %s ms and %s ms, %.3f×", digits(a.Median), digits(n.Median), a.Median/n.Median)
	r.compare(ratio, 1.01)
	return nil
}

// makeAway: the same on the node of a lab of its own, with a delay each way.
func makeAway(delay time.Duration) measure {
	return func(b *bench, ctx context.Context, r *Row) error {
		dir, err := b.project()
		if err != nil {
			return err
		}
		report := filepath.Join(b.dir, "report.json")
		lab, env, err := startLab(ctx, b.Homing, "--delay", delay.String(), "--report", report)
		if err != nil {
			return err
		}
		stopped := false
		defer func() {
			if !stopped {
				lab.stop()
			}
		}()
		rounds := b.rounds(5)
		stats, err := interleave(ctx, rounds,
			b.building("away", dir, nil, env, b.Homing, "run", "--on", "n1", "--"),
			b.building("run at home", dir, nil, env, b.Homing, "run", "--"))
		if err != nil {
			return err
		}
		lab.stop() // it then writes its report
		stopped = true
		r.Figure, r.Baseline = stats[0], stats[1]
		r.compare(ratio, 0)
		r.Notes = describeReport(report, rounds+1)
		return nil
	}
}

// describeReport says what a lab's node did in each of n runs.
func describeReport(path string, n int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var report struct {
		Nodes []struct {
			Guests     int
			CPUSeconds float64 `json:"cpu_seconds"`
			Calls      float64
			BytesIn    float64        `json:"bytes_in"`
			BytesOut   float64        `json:"bytes_out"`
			CameHome   map[string]int `json:"came_home"`
		}
	}
	if json.Unmarshal(raw, &report) != nil || len(report.Nodes) == 0 {
		return ""
	}
	node, each := report.Nodes[0], 1/float64(n)
	text := fmt.Sprintf("each: %.0f guests, %.2f s of cpu away, %.0f calls forwarded, %.1f MB in, %.1f MB out",
		float64(node.Guests)*each, node.CPUSeconds*each, node.Calls*each, node.BytesIn*each/1e6, node.BytesOut*each/1e6)
	if len(node.CameHome) > 0 {
		text += fmt.Sprintf("; came home in all: %v", node.CameHome)
	}
	return text
}
