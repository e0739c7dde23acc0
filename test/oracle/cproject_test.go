package oracle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeCProject makes a C project as people have them: a library of many modules that include each other's headers,
// generated sources, a static and a shared library, programs, their tests, dependencies by -MMD.
func writeCProject(dir string) error {
	const modules = 36
	files := map[string]string{"Makefile": cMakefile, "tools/gen.c": cGenerator, "include/base.h": cBase, "src/base.c": cBaseSource}
	var inits, sums, protos strings.Builder
	for i := range modules {
		files[fmt.Sprintf("include/mod%02d.h", i)] = fmt.Sprintf("#pragma once\n#include \"base.h\"\nstruct mod%02d { struct table t; int n; };\nvoid mod%02d_init(struct mod%02d *);\nlong mod%02d_sum(struct mod%02d *);\n", i, i, i, i, i)
		files[fmt.Sprintf("src/mod%02d.c", i)] = cModule(i)
		fmt.Fprintf(&protos, "#include \"mod%02d.h\"\n", i)
		fmt.Fprintf(&inits, "\tstatic struct mod%02d m%d;\n\tmod%02d_init(&m%d);\n", i, i, i, i)
		fmt.Fprintf(&sums, "\tprintf(\"module %02d: %%ld\\n\", mod%02d_sum(&m%d));\n", i, i, i)
	}
	files["src/main.c"] = "#include <stdio.h>\n#include \"generated.h\"\n" + protos.String() + "int main(void)\n{\n" + inits.String() + sums.String() +
		"\tprintf(\"%d generated\\n\", (int)(sizeof generated / sizeof *generated));\n\treturn 0;\n}\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func cModule(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#include <stdlib.h>\n#include <string.h>\n#include \"mod%02d.h\"\n", i)
	if i > 0 {
		fmt.Fprintf(&b, "#include \"mod%02d.h\"\n", i/2)
	}
	for f := range 12 {
		fmt.Fprintf(&b, `static long step%d(long x, const char *s)
{
	for (size_t i = 0; i < strlen(s); i++) {
		switch ((x ^ s[i]) %% %d) {
		case 0: x = x * 31 + s[i]; break;
		case 1: x ^= x >> %d; break;
		case 2: x += %d; break;
		default: x = (x << 3) | (x >> 11 & 7);
		}
		x &= 0xfffffff;
	}
	return x;
}
`, f, 3+(i+f)%5, 1+f%7, i*100+f)
	}
	fmt.Fprintf(&b, "void mod%02d_init(struct mod%02d *m)\n{\n\tm->n = %d;\n\tfor (int i = 0; i < m->n; i++)\n\t\ttable_put(&m->t, i * %dL, step%d(i, \"module\"));\n}\n", i, i, 40+i, i+3, i%12)
	fmt.Fprintf(&b, "long mod%02d_sum(struct mod%02d *m)\n{\n\tlong s = 0;\n\tfor (int i = 0; i < m->n; i++)\n\t\ts += table_get(&m->t, i * %dL)", i, i, i+3)
	for f := range 12 {
		fmt.Fprintf(&b, " ^ step%d(i, \"s%d\")", f, f)
	}
	b.WriteString(";\n\treturn s;\n}\n")
	return b.String()
}

const cBase = `#pragma once
#include <stddef.h>
struct table { struct entry { long key, value; struct entry *next; } *buckets[64]; };
void table_put(struct table *, long key, long value);
long table_get(struct table *, long key);
`

const cBaseSource = `#include <stdlib.h>
#include "base.h"
void table_put(struct table *t, long key, long value)
{
	struct entry *e = malloc(sizeof *e), **at = &t->buckets[(unsigned long)key * 2654435761u % 64];
	*e = (struct entry){key, value, *at};
	*at = e;
}
long table_get(struct table *t, long key)
{
	for (struct entry *e = t->buckets[(unsigned long)key * 2654435761u % 64]; e; e = e->next)
		if (e->key == key)
			return e->value;
	return -1;
}
`

const cGenerator = `#include <stdio.h>
int main(void)
{
	puts("static const int generated[] = {");
	for (int i = 0; i < 500; i++)
		printf("%d,\n", i * i % 997);
	puts("};");
	return 0;
}
`

const cMakefile = `CC := gcc
CFLAGS := -O1 -g -Iinclude -Ibuild -MMD -fPIC
OBJS := $(patsubst src/%.c,build/%.o,$(filter-out src/main.c,$(wildcard src/*.c)))
all: build/prog build/prog-shared
check: all
	@build/prog > build/out1; LD_LIBRARY_PATH=build build/prog-shared > build/out2; cmp build/out1 build/out2 && tail -2 build/out1
build:
	@mkdir -p build
build/gen: tools/gen.c | build
	@$(CC) -O1 -o $@ $<
build/generated.h: build/gen
	@build/gen > $@
build/main.o: build/generated.h
build/%.o: src/%.c | build
	@$(CC) $(CFLAGS) -c -o $@ $<
build/libbase.a: $(OBJS)
	@ar rcsD $@ $^
build/libbase.so: $(OBJS)
	@$(CC) -shared -o $@ $^
build/prog: build/main.o build/libbase.a
	@$(CC) -o $@ $^
build/prog-shared: build/main.o build/libbase.so
	@$(CC) -o $@ build/main.o -Lbuild -lbase
-include $(wildcard build/*.d)
`
