// An engine for benchmarks: it gives out jobs and takes their outcomes as fast as it can, or as fast as it is told to,
// and counts. It does not know workflows.
//
//	stub                 REST and gRPC on free ports of 127.0.0.1, which the first line on stdout names
//	POST /load?jobs=N    N jobs are there from now on, nothing is counted yet; &rate=R: at most R outcomes a second;
//	                     &arrivals=A: they come one by one from the first poll on, A a second on average;
//	                     &poll=P&job=J&outcome=O: a poll takes P milliseconds and J more for each of its jobs, and an
//	                     outcome O milliseconds of CPU time
//	GET /stats           what has happened since
//	GET /waits           of jobs that came one by one and have an outcome: seconds from claim to start and from the
//	                     moment they could be claimed to their outcome
//
// An outcome's variable "started" says when its handler started, in seconds since the epoch: both processes read the
// clock of one machine.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

type stats struct {
	Jobs      int     `json:"jobs"`
	Claimed   int     `json:"claimed"`
	Completed int     `json:"completed"`
	Again     int     `json:"again"` // outcomes of jobs that had one
	Failed    int     `json:"failed"`
	Polls     int     `json:"polls"`
	Seconds   float64 `json:"seconds"` // from the first claim, or the first start if nothing is claimed, to the last outcome
	began     float64
}

// times of a job, in seconds since the epoch; before the first poll, ready is in seconds from then.
type times struct{ ready, claimed, started, ended float64 }

type engine struct {
	sync.Mutex
	stats
	done  []bool
	times []times // of jobs that come one by one
	limit *rate.Limiter
	cost  cost
}

const lease = 30 * time.Second

// moment is how the engine writes a time.
const moment = "2006-01-02T15:04:05.999999Z"

func now() float64 { return float64(time.Now().UnixNano()) / 1e9 }

func (e *engine) load(jobs int, perSecond, arrivals float64, cost cost) {
	e.Lock()
	defer e.Unlock()
	e.cost = cost
	e.stats, e.done, e.times = stats{Jobs: jobs}, make([]bool, jobs), nil
	if arrivals > 0 {
		e.times = make([]times, jobs)
		random := rand.New(rand.NewPCG(1, 1)) // every client meets the same arrivals
		ready := 0.0
		for n := range e.times {
			ready += random.ExpFloat64() / arrivals
			e.times[n].ready = ready
		}
	}
	e.limit = rate.NewLimiter(rate.Inf, 0)
	if perSecond > 0 {
		e.limit = rate.NewLimiter(rate.Limit(perSecond), 1)
	}
}

// claim returns the numbers of up to count jobs, after the time that this takes.
func (e *engine) claim(count int) []int {
	claimed, cost := e.give(count)
	time.Sleep(cost.poll + time.Duration(len(claimed))*cost.perJob)
	return claimed
}

func (e *engine) give(count int) ([]int, cost) {
	e.Lock()
	defer e.Unlock()
	e.Polls++
	at, ready := now(), e.Jobs
	if e.times != nil {
		if e.Polls == 1 {
			for n := range e.times {
				e.times[n].ready += at
			}
		}
		ready = sort.Search(e.Jobs, func(n int) bool { return e.times[n].ready > at })
	}
	count = min(count, ready-e.Claimed)
	if count > 0 && e.Claimed == 0 {
		e.began = at
	}
	claimed := make([]int, 0, count)
	for range count {
		if e.times != nil {
			e.times[e.Claimed].claimed = at
		}
		claimed = append(claimed, e.Claimed)
		e.Claimed++
	}
	return claimed, e.cost
}

// end takes the outcome of a job whose handler started at some time; false if there is no such job.
func (e *engine) end(id string, failed bool, started float64) bool {
	e.Lock()
	wait, cost := e.limit.Reserve().Delay(), e.cost
	e.Unlock()
	time.Sleep(wait)
	burn(cost.outcome)
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
	at := now()
	if e.times != nil {
		e.times[number].started, e.times[number].ended = started, at
	}
	if e.Claimed == 0 && (e.began == 0 || started < e.began) {
		e.began = started
	}
	e.Seconds = at - e.began
	return true
}

// waits returns, of each job that has an outcome, the seconds from claim to start and from ready to outcome.
func (e *engine) waits() map[string][]float64 {
	e.Lock()
	defer e.Unlock()
	found := map[string][]float64{}
	for _, job := range e.times {
		if job.ended > 0 {
			found["start"] = append(found["start"], job.started-job.claimed)
			found["outcome"] = append(found["outcome"], job.ended-job.ready)
		}
	}
	return found
}

func main() {
	e := &engine{}
	e.load(0, 0, 0, cost{})
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
		claimed, at := e.claim(asked.MaxJobs), time.Now().UTC()
		for i, number := range claimed {
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"id":"job-%d","instanceId":"instance-%d","stepExecutionId":"step-%d",`+
				`"jobType":"noop","status":"LOCKED","retriesRemaining":0,"variables":{"n":%d,"name":"Ada"},`+
				`"createdAt":%[5]q,"lockedAt":%[5]q,"lockExpiresAt":%[6]q}`,
				number, number, number, number, at.Format(moment), at.Add(lease).Format(moment))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(append(body, `]}`...))
	})
	outcome := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var said struct{ Variables struct{ Started float64 } }
			if err := json.NewDecoder(r.Body).Decode(&said); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if !e.end(r.PathValue("id"), failed, said.Variables.Started) {
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
		arrivals, _ := strconv.ParseFloat(r.FormValue("arrivals"), 64)
		if err != nil || jobs < 0 {
			http.Error(w, "jobs: a whole number", http.StatusBadRequest)
			return
		}
		e.load(jobs, perSecond, arrivals, costOf(r.Form))
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		e.Lock()
		defer e.Unlock()
		json.NewEncoder(w).Encode(e.stats)
	})
	mux.HandleFunc("GET /waits", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(e.waits()) })
	return mux
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "stub:", err)
		os.Exit(1)
	}
}
