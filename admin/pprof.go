package admin

import (
	"fmt"
	"html"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"
)

// The profiles are made here rather than by net/http/pprof, which puts them on
// http.DefaultServeMux as soon as it is linked in. An author who serves that
// mux, as so many do, and uses this module would show the memory of the
// process, with all users' tokens, to everybody.
//
// What is left out of that package's: cmdline, since arguments may hold
// secrets; symbol, which go tool pprof does not need for profiles of this
// form; and differences of two profiles, which it makes itself (-base).

const (
	profileDefault = 30 * time.Second
	traceDefault   = time.Second
	profileLongest = 5 * time.Minute
)

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/{$}", listProfiles)
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		during(w, r, profileDefault, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	})
	mux.HandleFunc("GET /debug/pprof/trace", func(w http.ResponseWriter, r *http.Request) {
		during(w, r, traceDefault, func() error { return trace.Start(w) }, trace.Stop)
	})
	mux.HandleFunc("GET /debug/pprof/{name}", writeProfile)
	return mux
}

func listProfiles(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	var b strings.Builder
	b.WriteString("<!DOCTYPE html><title>profiles</title><ul>\n")
	for _, p := range pprof.Profiles() {
		name := html.EscapeString(p.Name())
		fmt.Fprintf(&b, "<li><a href=\"%s?debug=1\">%s</a> %d\n", name, name, p.Count())
	}
	b.WriteString("<li><a href=\"profile\">profile</a> of the CPU, ?seconds=30\n<li><a href=\"trace\">trace</a> of execution, ?seconds=1\n</ul>\n")
	w.Write([]byte(b.String()))
}

func writeProfile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	p := pprof.Lookup(name)
	switch {
	case p == nil:
		http.Error(w, "there is no such profile", http.StatusNotFound)
		return
	case r.FormValue("seconds") != "":
		http.Error(w, "this profile is of a moment; for a difference, fetch it twice and use go tool pprof -base", http.StatusBadRequest)
		return
	}
	if name == "heap" && r.FormValue("gc") == "1" {
		runtime.GC()
	}
	debug, _ := strconv.Atoi(r.FormValue("debug"))
	if debug > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		attachment(w, name)
	}
	p.WriteTo(w, debug)
}

// during records from start to stop, for as long as the request says, or until
// it ends.
func during(w http.ResponseWriter, r *http.Request, d time.Duration, start func() error, stop func()) {
	if text := r.FormValue("seconds"); text != "" {
		// ParseFloat takes NaN, which no comparison finds too small or large.
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds <= profileLongest.Seconds()) {
			http.Error(w, fmt.Sprintf("seconds must be a number of at most %v", profileLongest.Seconds()), http.StatusBadRequest)
			return
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	attachment(w, strings.TrimPrefix(r.URL.Path, "/debug/pprof/"))
	if err := start(); err != nil { // one is being made
		w.Header().Del("Content-Disposition")
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer stop()
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func attachment(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}
