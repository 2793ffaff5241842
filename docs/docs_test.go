// Package docs_test holds the documentation to the truth: every "sh" block is
// run, what follows it as "text" is what it prints, and every Go block is code
// that is compiled and tested elsewhere. Other kinds of block are not there.
package docs_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = ".."

// block is a fenced code block of a document.
type block struct {
	lang, text string
	line       int
}

// readersPort is where the documentation's servers listen.
const readersPort = "127.0.0.1:8080"

// notRun are commands of the documentation that run this test, or the whole
// benchmark.
var notRun = map[string]bool{
	"./scripts/test\n": true,
	"./bench/run\n":    true,
}

func TestDocumentation(t *testing.T) {
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md"} {
		documents = append(documents, filepath.Join(root, name))
	}
	examples, err := filepath.Glob(root + "/examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, examples...)
	source := goSource(t)
	for _, path := range documents {
		t.Run(strings.TrimPrefix(path, root+"/"), func(t *testing.T) {
			blocks := read(t, path)
			for _, b := range blocks {
				switch {
				case b.lang == "go" && !strings.Contains(source, b.text):
					t.Errorf("line %d: this Go code is in no file of examples/ and no test of docs/", b.line)
				case b.lang != "go" && b.lang != "sh" && b.lang != "text":
					t.Errorf("line %d: a block of %q, which nothing checks", b.line, b.lang)
				}
			}
			runShell(t, blocks)
		})
	}
}

func TestLinksLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	documents, _ := filepath.Glob(root + "/docs/*.md")
	examples, _ := filepath.Glob(root + "/examples/*/README.md")
	documents = append(append(documents, examples...), root+"/README.md", root+"/SECURITY.md", root+"/CHANGELOG.md")
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
			}
		}
	}
}

// read returns the code blocks of a document.
func read(t *testing.T, path string) []block {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var current *block
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case current == nil && strings.HasPrefix(line, "```"):
			current = &block{lang: strings.TrimPrefix(line, "```"), line: i + 1}
		case current != nil && line == "```":
			blocks = append(blocks, *current)
			current = nil
		case current != nil:
			current.text += line + "\n"
		}
	}
	return blocks
}

// goSource returns the code of the examples, and of the tests beside this one.
func goSource(t *testing.T) string {
	files, err := filepath.Glob(root + "/examples/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	tests, err := filepath.Glob(root + "/docs/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, tests...)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// runShell runs the shell blocks of a document one after the other in one
// shell, at the root of the project, as a reader would type them.
func runShell(t *testing.T, blocks []block) {
	const separator = "=== end of block ==="
	var (
		script strings.Builder
		wanted []string // what each run block prints, "" if nothing is said
		lines  []int
	)
	for i, b := range blocks {
		if b.lang != "sh" || notRun[b.text] {
			continue
		}
		script.WriteString(b.text + "echo '" + separator + "'\n")
		want := ""
		if i+1 < len(blocks) && blocks[i+1].lang == "text" {
			want = blocks[i+1].text
		}
		wanted, lines = append(wanted, want), append(lines, b.line)
	}
	if len(wanted) == 0 {
		return
	}
	if taken, err := net.DialTimeout("tcp", readersPort, time.Second); err == nil {
		taken.Close()
		t.Fatalf("something else listens on %s, which the documentation uses", readersPort)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // go may have much to build
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script.String())
	cmd.Dir = root
	cmd.WaitDelay = time.Minute
	// A group of its own, so that nothing which it has begun stays behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &errs)
	}
	printed := strings.Split(out.String(), separator+"\n")
	for i, want := range wanted {
		if want != "" && strings.TrimSpace(printed[i]) != strings.TrimSpace(want) {
			t.Errorf("the block of line %d prints\n%s\nand not\n%s", lines[i], printed[i], want)
		}
	}
}
