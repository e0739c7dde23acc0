package oracle_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/internal/oracle"
)

const scripts = "../../testdata/scripts"

// script is a case that runs a file of testdata/scripts by its interpreter.
func script(interpreter, name string) oracle.Case {
	base := filepath.Base(interpreter)
	return oracle.Case{
		Name:    base + "_" + strings.TrimSuffix(name, filepath.Ext(name)),
		Argv:    append(strings.Fields(interpreter), name),
		Needs:   []string{strings.Fields(interpreter)[0]},
		Setup:   func(dir string) error { return copyIn(dir, filepath.Join(scripts, name)) },
		Timeout: 40 * time.Second,
	}
}

func copyIn(dir string, files ...string) error {
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// with changes a case.
func with(c oracle.Case, f func(*oracle.Case)) oracle.Case {
	f(&c)
	return c
}

func programs(t *testing.T) []oracle.Case {
	needs := func(n ...string) func(*oracle.Case) { return func(c *oracle.Case) { c.Needs = append(c.Needs, n...) } }
	return []oracle.Case{
		{Name: "true", Argv: []string{"/bin/true"}},
		{Name: "ls", Argv: []string{"/bin/ls", "-l", "/usr"}},
		{Name: "cat", Argv: []string{"/bin/cat"}, Stdin: strings.Repeat("standard input\n", 10000)},
		{Name: "missing", Body: missing, AtHome: true},
		script("/bin/dash", "shell_basics.sh"),
		with(script("/bin/bash", "shell_basics.sh"), func(c *oracle.Case) {
			c.Normalise = func(s string) string { return killedPid.ReplaceAllString(s, "line $1: PID ") }
		}),
		script("/bin/bash", "bash_only.sh"),
		script("/bin/bash", "text_tools.sh"),
		with(script("/bin/bash", "archives.sh"), needs("tar", "gzip", "xz", "zstd")),
		with(script("/bin/bash", "git_work.sh"), needs("git")),
		with(script("/bin/bash", "sqlite_work.sh"), needs("sqlite3")),
		with(script("/bin/bash", "openssl_work.sh"), func(c *oracle.Case) {
			needs("openssl")(c)
			c.Argv = append(c.Argv, fmt.Sprint(freePort(t)))
		}),
		script("/usr/bin/python3", "python_basics.py"),
		script("/usr/bin/python3", "python_multiprocessing.py"),
		script("/usr/bin/python3", "python_shared_memory.py"),
		with(script("/usr/bin/python3", "python_mmap.py"), func(c *oracle.Case) { c.Home = "shared" }),
		script("/usr/bin/perl", "perl_work.pl"),
		with(script("/usr/bin/gawk -f", "gawk_work.awk"), func(c *oracle.Case) { c.Name = "gawk" }),
		with(script("/usr/bin/node", "node_work.js"), func(c *oracle.Case) { c.Name = "node" }),
		{Name: "make", Argv: []string{"/usr/bin/make", "-j4", "check"}, Setup: writeCProject, Needs: []string{"make", "gcc"}, Timeout: 3 * time.Minute},
		{Name: "make_dry", Argv: []string{"/usr/bin/make", "-n"}, Setup: writeCProject, Needs: []string{"make"}},
		{
			Name: "gcc_error", Argv: []string{"/usr/bin/gcc", "-c", "bad.c"}, Needs: []string{"gcc"},
			Setup: func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "bad.c"), []byte("int main(void) { return x; }\n"), 0o644)
			},
		},
		{Name: "go_program", Argv: []string{goBinary(t, "goprogram")}, Timeout: time.Minute},
		{Name: "go_worker", Argv: []string{goBinary(t, "goworker")}, Timeout: time.Minute},
		script("/usr/bin/python3", "python_worker.py"),
		{Name: "curl_away", Body: curlAway, Normalise: func(s string) string { return afterMs.ReplaceAllString(s, "after N ms") }, Needs: []string{"curl", "python3"}},
		{Name: "http_server_away", Body: serverAway, Needs: []string{"curl", "python3"}},
		{Name: "redis_server_away", Body: redisAway, Needs: []string{"redis-server", "redis-benchmark", "redis-cli"}, Timeout: time.Minute, IgnoreFiles: []string{"dump.rdb"}},
		{Name: "signals_from_outside", Body: signalsFromOutside},
	}
}

// afterMs is in what curl says of a refused connection.
var afterMs = regexp.MustCompile(`after \d+ ms`)

// killedPid is in bash's word about a job that died of a signal.
var killedPid = regexp.MustCompile(`line (\d+): +\d+ `)

// TestPrograms runs what people run.
func TestPrograms(t *testing.T) {
	as(t, oracle.Self(), programs(t), nil)
}

// TestProgramsOrdinaryUser does the same as an ordinary user.
func TestProgramsOrdinaryUser(t *testing.T) {
	cases := programs(t)
	if testing.Short() {
		cases = every(cases, 4)
	}
	as(t, oracle.Nobody(), append(cases, postgres()...), nil)
}

// postgres is PostgreSQL, where it is installed: processes that share anonymous, POSIX and System V memory. It does not
// run as root.
func postgres() []oracle.Case {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is fine
	if len(found) == 0 {
		return nil
	}
	bin := filepath.Dir(found[len(found)-1])
	return []oracle.Case{{Name: "postgres", Body: func(r *oracle.Run) { postgresAway(r, bin) }, Timeout: 2 * time.Minute, IgnoreFiles: []string{"*"}}}
}

func postgresAway(r *oracle.Run, bin string) {
	db := filepath.Join(r.Dir, "db")
	initdb := r.StartHome(filepath.Join(bin, "initdb"), "-D", db, "-U", "pg", "-A", "trust", "-N", "--no-locale")
	r.Record("initdb", initdb.Wait())
	server := r.Start(filepath.Join(bin, "postgres"), "-D", db, "-k", r.Dir, "-h", "", "-c", "fsync=off", "-c", "autovacuum=off")
	client := func(argv ...string) *oracle.Process {
		return r.StartHome(append([]string{filepath.Join(bin, argv[0]), "-h", r.Dir, "-U", "pg"}, argv[1:]...)...)
	}
	for client("pg_isready", "-q").Wait() != "exit 0" {
		time.Sleep(50 * time.Millisecond)
	}
	sql := func(text string) {
		client("psql", "-d", "postgres", "-tAc", text).Finish(text + ": ")
	}
	sql("create table t (n int, word text)")
	sql("insert into t select i, repeat(chr(65 + i % 26), 20) from generate_series(1, 20000) i")
	// Parallel workers: memory that is made, mapped by others and dropped for each query.
	sql("set force_parallel_mode = on; set parallel_setup_cost = 0; set min_parallel_table_scan_size = 0; select count(*), sum(n), max(word) from t")
	r.Record("pgbench -i", client("pgbench", "-q", "-i", "-s", "1", "postgres").Wait())
	r.Record("pgbench", client("pgbench", "-c", "4", "-t", "20", "postgres").Wait())
	sql("select (select count(*) from pgbench_history), (select sum(delta) from pgbench_history) = (select sum(abalance) from pgbench_accounts)")
	server.Signal(syscall.SIGINT)
	r.Record("server", server.Wait())
}

// missing shows what a shell sees of programs that are not there or cannot be executed. Messages are homing's own.
func missing(r *oracle.Run) {
	r.Check(os.WriteFile(filepath.Join(r.Dir, "plain"), []byte("no program"), 0o644))
	for _, name := range []string{"/nonexistent", "./plain", "/"} {
		argv := []string{name}
		if r.Place.Lab == nil {
			argv = []string{"/bin/sh", "-c", `exec "$0" 2>/dev/null`, name}
		}
		r.Record(name, r.Start(argv...).Wait())
	}
}

// goBinary builds a program of testdata.
func goBinary(t *testing.T, name string) string {
	bin := filepath.Join(suite.Dir, name)
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	cmd := exec.Command("go", "build", "-o", bin, "../../testdata/"+name+"/main.go")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the Go program: %v\n%s", err, out)
	}
	return bin
}

// freePort is a TCP port of 127.0.0.1 that nobody listens at, at this moment.
func freePort(t *testing.T) int {
	port, err := findPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func findPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// awaitPort waits until something listens.
func awaitPort(r *oracle.Run, port int) {
	for range 1000 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Fatalf("nothing listens at port %d", port)
}

func webFiles(r *oracle.Run) {
	r.Check(os.MkdirAll(filepath.Join(r.Dir, "www"), 0o755))
	r.Check(os.WriteFile(filepath.Join(r.Dir, "www", "page"), []byte(strings.Repeat("a page of the web\n", 50000)), 0o644))
}

// httpServer starts Python's web server, at home or where the run computes.
func httpServer(r *oracle.Run, start func(...string) *oracle.Process) (port int, server *oracle.Process) {
	webFiles(r)
	port, err := findPort()
	r.Check(err)
	server = start("/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "www", fmt.Sprint(port))
	awaitPort(r, port)
	return port, server
}

func curls(r *oracle.Run, port int, start func(...string) *oracle.Process) {
	for _, path := range []string{"page", "missing", ""} {
		p := start("/usr/bin/curl", "-sS", "-w", "%{http_code} %{size_download} %{content_type}\n", fmt.Sprintf("http://127.0.0.1:%d/%s", port, path))
		p.Finish("curl " + path + " ")
	}
	start("/usr/bin/curl", "-sS", "-o", "saved", "-r", "100-200", fmt.Sprintf("http://127.0.0.1:%d/page", port)).Finish("curl -o ")
}

func curlAway(r *oracle.Run) {
	port, server := httpServer(r, r.StartHome)
	curls(r, port, r.Start)
	r.Start("/usr/bin/curl", "-sS", "http://127.0.0.1:1/").Finish("refused ")
	server.Signal(15).Wait()
}

func serverAway(r *oracle.Run) {
	port, server := httpServer(r, r.Start)
	curls(r, port, r.StartHome)
	server.Signal(2) // as Ctrl-C
	r.Record("server status", server.Wait())
	r.Record("server log", dated.ReplaceAllString(server.Stderr(), "[date]"))
}

var dated = regexp.MustCompile(`\[\d+/\w+/\d+ [\d:]+\]|port \d+|:\d+/`)

func redisAway(r *oracle.Run) {
	port, err := findPort()
	r.Check(err)
	p := fmt.Sprint(port)
	server := r.Start("/usr/bin/redis-server", "--port", p, "--bind", "127.0.0.1", "--save", "", "--dir", r.Dir, "--daemonize", "no")
	awaitPort(r, port)
	cli := func(args ...string) {
		r.StartHome(append([]string{"/usr/bin/redis-cli", "-p", p}, args...)...).Finish("redis-cli " + strings.Join(args, " ") + " ")
	}
	cli("ping")
	cli("set", "key", "value")
	cli("get", "key")
	bench := r.StartHome("/usr/bin/redis-benchmark", "-p", p, "-q", "-n", "2000", "-c", "10", "-t", "ping,set,get,incr,lpush,mset")
	r.Record("benchmark", bench.Wait())
	r.Record("done", strings.Join(strings.Fields(measured.ReplaceAllString(bench.Stdout(), " ")), " "))
	cli("incr", "counter")
	cli("save")
	cli("dbsize")
	cli("debug", "sleep", "0.05")
	cli("bgsave")
	cli("shutdown")
	r.Record("server", server.Wait())
}

var measured = regexp.MustCompile(`[^\n\r]*\r|: [\d.]+ requests per second.*`)

// signalsFromOutside sends signals to a program by the pid that its parent knows.
func signalsFromOutside(r *oracle.Run) {
	p := r.Start("/bin/bash", "-c", `trap 'echo usr1' USR1; trap 'echo term; exit 9' TERM; echo ready $PPID; while :; do sleep 0.02; done`)
	p.Await("ready")
	for n := 1; n <= 3; n++ {
		p.Signal(10)
		sent := time.Now()
		for strings.Count(p.Stdout(), "usr1") < n {
			time.Sleep(time.Millisecond)
			if time.Since(sent) > 3*time.Second { // bash loses one natively, too, if it comes while its trap is being run
				p.Signal(10)
				sent = time.Now()
			}
		}
	}
	p.Signal(19)
	time.Sleep(50 * time.Millisecond)
	p.Signal(15)
	p.Signal(18)
	p.Finish("bash ")
	for _, s := range []int{1, 2, 3, 6, 9, 14, 15, 34} {
		k := r.Start("/bin/sh", "-c", "ulimit -c 0; echo ready; exec sleep 20").Await("ready")
		time.Sleep(20 * time.Millisecond)
		r.Check(k.Kill(s))
		k.Finish(fmt.Sprintf("signal %d ", s))
	}
}
