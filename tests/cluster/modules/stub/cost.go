package main

import (
	"hash/crc32"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// cost is what the calls of a real engine cost, which shares its machine with the clients and a database.
type cost struct {
	poll    time.Duration // how long a poll takes at least
	perJob  time.Duration // and how much longer for each job that it gives out
	outcome time.Duration // CPU time that an outcome takes
}

func costOf(form url.Values) cost {
	milliseconds := func(name string) time.Duration {
		value, _ := strconv.ParseFloat(form.Get(name), 64)
		return time.Duration(value * float64(time.Millisecond))
	}
	return cost{milliseconds("poll"), milliseconds("job"), milliseconds("outcome")}
}

var block [1024]byte

// rounds is how many blocks can be summed in a millisecond of CPU time, whatever else runs on this machine.
var rounds = calibrate()

func calibrate() float64 {
	sum := 0
	for began := cpu(); cpu()-began < 20*time.Millisecond; sum += 100 {
		work(100)
	}
	began := cpu()
	work(sum)
	return float64(sum) / (float64(cpu()-began) / float64(time.Millisecond))
}

// burn uses up CPU time: work, and not time on a clock, which passes as well while others have the processor.
func burn(wanted time.Duration) {
	work(int(rounds * float64(wanted) / float64(time.Millisecond)))
}

func work(rounds int) {
	for range rounds {
		crc32.ChecksumIEEE(block[:])
	}
}

func cpu() time.Duration {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
