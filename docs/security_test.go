package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	// namedTest is a test that security.md names, by folder and name.
	namedTest = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	realTest  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	// anyTest finds what should have been named so.
	anyTest = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z0-9_]+`)
)

// testsOf returns the tests in a folder, "mcpauth" being the root.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	if folder == "mcpauth" {
		folder = "."
	}
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range realTest.FindAllStringSubmatch(string(text), -1) {
			all[m[1]] = true
		}
	}
	return all
}

func TestSecurityNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string]map[string]bool{}
	named := namedTest.FindAllStringSubmatch(string(text), -1)
	for _, m := range named {
		folder, name := m[1], m[2]
		if folders[folder] == nil {
			folders[folder] = testsOf(t, folder)
		}
		if !folders[folder][name] {
			t.Errorf("there is no %s in %s", name, folder)
		}
	}
	if loose := len(anyTest.FindAllString(string(text), -1)) - len(named); loose != 0 || len(named) < 100 {
		t.Errorf("%d tests are named with their folder, %d without", len(named), loose)
	}
}

func TestSecurityRowsAreShownByTests(t *testing.T) {
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	rows, columns := 0, 0
	for i, line := range lines {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		switch cells := strings.Split(strings.Trim(line, "|"), "|"); {
		case columns == 0: // the head
			columns = len(cells)
		case strings.HasPrefix(line, "|-"):
		case len(cells) != columns:
			t.Errorf("line %d has %d cells, its table %d columns", i+1, len(cells), columns)
		default:
			rows++
			if !namedTest.MatchString(cells[columns-1]) {
				t.Errorf("line %d names no test: %s", i+1, line)
			}
		}
	}
	if rows < 80 {
		t.Errorf("%d rows", rows)
	}
}

// Every fuzz target is mentioned: none is left out of what is said to be all.
func TestSecurityListsAllFuzzTargets(t *testing.T) {
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, listed, _ := strings.Cut(string(text), "\n## Fuzz targets\n")
	eachFolder(t, func(folder string) {
		for name := range testsOf(t, folder) {
			if strings.HasPrefix(name, "Fuzz") && !strings.Contains(listed, "`"+folder+"."+name+"`") {
				t.Errorf("%s.%s is not listed", folder, name)
			}
		}
	})
}

// eachFolder calls see for each folder that may have tests, "mcpauth" being the
// root.
func eachFolder(t *testing.T, see func(folder string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); name != ".." && strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" {
			return filepath.SkipDir
		}
		folder, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if folder = filepath.ToSlash(folder); folder == "." {
			folder = "mcpauth"
		}
		see(folder)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What README counts is so many.
func TestReadmeCounts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{"Fuzz": 0, "TestSeed": 0}
	eachFolder(t, func(folder string) {
		for name := range testsOf(t, folder) {
			for prefix := range counts {
				if strings.HasPrefix(name, prefix) {
					counts[prefix]++
				}
			}
		}
	})
	for row, prefix := range map[string]string{"native fuzz targets": "Fuzz", "(`TestSeed…`)": "TestSeed"} {
		m := regexp.MustCompile(`(?m)^\|.*` + regexp.QuoteMeta(row) + `.*\| (\d+) \|$`).FindStringSubmatch(string(text))
		if m == nil {
			t.Errorf("README.md has no row of %s", row)
		} else if m[1] != strconv.Itoa(counts[prefix]) {
			t.Errorf("README.md counts %s of %s, and there are %d", m[1], prefix, counts[prefix])
		}
	}
}
