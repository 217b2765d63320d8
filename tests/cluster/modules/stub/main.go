// An engine for benchmarks: it gives out jobs and takes their outcomes as fast as it can, or as fast as it is told to,
// and counts. It does not know workflows.
//
//	stub                 REST and gRPC on free ports of 127.0.0.1, which the first line on stdout names
//	POST /load?jobs=N    N jobs are there from now on, nothing is counted yet; &rate=R: at most R outcomes a second
//	GET /stats           what has happened since
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

type stats struct {
	Jobs       int     `json:"jobs"`
	Claimed    int     `json:"claimed"`
	Completed  int     `json:"completed"`
	Again      int     `json:"again"` // outcomes of jobs that had one
	Failed     int     `json:"failed"`
	Polls      int     `json:"polls"`
	Seconds    float64 `json:"seconds"` // from the first claim to the last outcome
	firstClaim time.Time
}

type engine struct {
	sync.Mutex
	stats
	done  []bool
	limit *rate.Limiter
}

func (e *engine) load(jobs int, perSecond float64) {
	e.Lock()
	defer e.Unlock()
	e.stats, e.done = stats{Jobs: jobs}, make([]bool, jobs)
	e.limit = rate.NewLimiter(rate.Inf, 0)
	if perSecond > 0 {
		e.limit = rate.NewLimiter(rate.Limit(perSecond), 1)
	}
}

// claim returns the numbers of up to count jobs.
func (e *engine) claim(count int) []int {
	e.Lock()
	defer e.Unlock()
	e.Polls++
	count = min(count, e.Jobs-e.Claimed)
	if count > 0 && e.Claimed == 0 {
		e.firstClaim = time.Now()
	}
	claimed := make([]int, 0, count)
	for range count {
		claimed = append(claimed, e.Claimed)
		e.Claimed++
	}
	return claimed
}

// end takes the outcome of a job; false if there is no such job.
func (e *engine) end(id string, failed bool) bool {
	e.Lock()
	wait := e.limit.Reserve().Delay()
	e.Unlock()
	time.Sleep(wait)
	e.Lock()
	defer e.Unlock()
	number, err := strconv.Atoi(strings.TrimPrefix(id, "job-"))
	if err != nil || number < 0 || number >= e.Jobs {
		return false
	}
	switch {
	case e.done[number]:
		e.Again++
	case failed:
		e.Failed++
	default:
		e.Completed++
	}
	e.done[number] = true
	e.Seconds = time.Since(e.firstClaim).Seconds()
	return true
}

func main() {
	e := &engine{}
	e.load(0, 0)
	rest, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	grpc, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() { must(serveGRPC(e, grpc)) }()
	fmt.Printf("{\"rest\": \"http://%s\", \"grpc\": \"%s\"}\n", rest.Addr(), grpc.Addr())
	must(http.Serve(rest, serveREST(e)))
}

func serveREST(e *engine) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/jobs/poll", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ MaxJobs int }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body := []byte(`{"jobs":[`)
		for i, number := range e.claim(asked.MaxJobs) {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"id":"job-%d","instanceId":"instance-%d","stepExecutionId":"step-%d",`+
				`"jobType":"noop","status":"LOCKED","retriesRemaining":0,"variables":{"n":%d,"name":"Ada"}}`,
				number, number, number, number)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(body, `]}`...))
	})
	outcome := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !e.end(r.PathValue("id"), failed) {
				http.Error(w, `{"error":"internal-error","reason":"job not found"}`, http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.HandleFunc("POST /v1/jobs/{id}/complete", outcome(false))
	mux.HandleFunc("POST /v1/jobs/{id}/fail", outcome(true))
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, r *http.Request) {
		jobs, err := strconv.Atoi(r.FormValue("jobs"))
		perSecond, _ := strconv.ParseFloat(r.FormValue("rate"), 64)
		if err != nil || jobs < 0 {
			http.Error(w, "jobs: a whole number", http.StatusBadRequest)
			return
		}
		e.load(jobs, perSecond)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		e.Lock()
		defer e.Unlock()
		json.NewEncoder(w).Encode(e.stats)
	})
	return mux
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "stub:", err)
		os.Exit(1)
	}
}
