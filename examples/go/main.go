// A static Go program that starts itself from many goroutines: vfork, clone, execve and signals of Go's own runtime.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		fmt.Print(os.Args[2])
		return
	}
	self, err := os.Executable()
	check(err)
	var group sync.WaitGroup
	for worker := 0; worker < 8; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for round := 0; round < 20; round++ {
				word := fmt.Sprintf("%d-%d", worker, round)
				out, err := exec.Command(self, "child", word).Output()
				check(err)
				check(os.WriteFile(fmt.Sprintf("/out/%s", word), out, 0o640))
			}
		}(worker)
	}
	group.Wait()
	entries, err := os.ReadDir("/out")
	check(err)
	fmt.Println(len(entries), "files by", self)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
