package foldersync

import (
	"context"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// debounce is how long no file may have changed before the files are read again, so that
	// several changes are one.
	debounce = 300 * time.Millisecond
	// pollInterval is how often files are compared with those that were read. Some file
	// systems, such as those of a network or of a virtual machine's host, send no events.
	pollInterval = 10 * time.Second
)

// watch calls changed, until ctx ends, when files may have changed.
func watch(ctx context.Context, files Files, changed func()) {
	var events chan fsnotify.Event
	var errs chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = watcher.Close() }()
		events, errs = watcher.Events, watcher.Errors
		updateWatches(watcher, files)
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	<-settled.C
	known := files.state()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settled.Reset(debounce)
		case <-errs: //nolint:errcheck // events were lost
			settled.Reset(debounce)
		case <-poll.C:
			if files.state() != known {
				settled.Reset(debounce)
			}
		case <-settled.C:
			if watcher != nil {
				updateWatches(watcher, files)
			}
			if current := files.state(); current != known {
				known = current
				changed()
			}
		}
	}
}

// updateWatches watches the folders of files. One that cannot be watched is polled.
func updateWatches(watcher *fsnotify.Watcher, files Files) {
	watched := watcher.WatchList()
	for _, folder := range files.folders() {
		if !slices.Contains(watched, folder) {
			_ = watcher.Add(folder)
		}
	}
}
