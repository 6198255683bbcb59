package relay

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ConnectionStatus is the status of a session, for the conditions SchedulerReachable and
// SchedulerSynced. Equal failures have equal messages.
type ConnectionStatus struct {
	// Connected: the session has a stable connection.
	Connected bool
	// Since is when it connected, was disconnected, or was created.
	Since time.Time
	// Reason in CamelCase and Message of the last failure, or of the connection.
	Reason, Message string

	// Synced: every kind was resynced on this connection, and its events arrive.
	Synced bool
	// SyncReason in CamelCase, and SyncMessage, which has the cause for each kind that
	// is not in sync.
	SyncReason, SyncMessage string
}

// Reasons of [ConnectionStatus.Reason]; more are in disconnect.go.
const (
	ReasonConnected  = "Connected"
	ReasonConnecting = "Connecting"
	// ReasonUnavailable: connections to the scheduler's address fail.
	ReasonUnavailable = "Unavailable"
	// ReasonNoResponse: connections succeed, and the server sends nothing on them.
	ReasonNoResponse = "NoResponse"
	// ReasonConnectionLost: the scheduler ended the connection, or it failed.
	ReasonConnectionLost = "ConnectionLost"
	// ReasonCredentials: the certificates cannot be read.
	ReasonCredentials = "InvalidCredentials"
)

// Reasons of [ConnectionStatus.SyncReason].
const (
	ReasonSynced = "Synced"
	// ReasonNotConnected: see [ConnectionStatus.Reason].
	ReasonNotConnected = "NotConnected"
	// ReasonWaitingForScheduler: the scheduler has not requested a kind yet. After its
	// start it waits for the replicas of Servers.
	ReasonWaitingForScheduler = "WaitingForScheduler"
	// ReasonSyncing: a kind is being resynced.
	ReasonSyncing = "Syncing"
	// ReasonListFailed: the scheduler does not list the objects of a kind.
	ReasonListFailed = "ListFailed"
	// ReasonNotifyFailed: the scheduler does not accept the notification about Servers.
	ReasonNotifyFailed = "NotifyFailed"
	// ReasonSubscriptionFailed: the stream of the events of a kind ends repeatedly.
	ReasonSubscriptionFailed = "SubscriptionFailed"
)

// syncReasons are the reasons of kinds that are not in sync, failures first.
var syncReasons = []string{ReasonNotifyFailed, ReasonListFailed, ReasonSubscriptionFailed, ReasonWaitingForScheduler, ReasonSyncing}

// statusWithSync returns the session's status, under the session's lock. Of several
// reasons, the first of syncReasons is reported.
func (s *session) statusWithSync() ConnectionStatus {
	status := s.status
	if s.connection == nil || !status.Connected {
		status.SyncReason, status.SyncMessage = ReasonNotConnected, "there is no connection to the scheduler; see the condition SchedulerReachable"
		return status
	}
	var problems []string
	for _, kind := range syncedKinds {
		reason, message := s.kinds[kind].sync.problem(kind)
		if reason == "" {
			continue
		}
		if status.SyncReason == "" || slices.Index(syncReasons, reason) < slices.Index(syncReasons, status.SyncReason) {
			status.SyncReason = reason
		}
		problems = append(problems, message)
	}
	if rejected := s.rejectedServers(); rejected != "" {
		status.SyncReason = ReasonNotifyFailed
		problems = append(problems, rejected)
	}
	if problems == nil {
		status.Synced, status.SyncReason = true, ReasonSynced
		return status
	}
	status.SyncMessage = strings.Join(problems, "; ")
	if remedy := syncRemedies[status.SyncReason]; remedy != "" {
		status.SyncMessage += "; " + remedy
	}
	return status
}

// syncRemedies are what to do, by reason. They follow the messages of the kinds.
var syncRemedies = map[string]string{
	ReasonNotifyFailed:        "this is retried; if it lasts, check the scheduler's log and these Servers",
	ReasonListFailed:          "this is retried; if it lasts, check the scheduler's log",
	ReasonSubscriptionFailed:  "this is retried; if it lasts, check the scheduler's log, and proxies between the operator and the scheduler",
	ReasonWaitingForScheduler: "if this lasts, check the pods of the Servers, and the scheduler's log",
}

// problem returns why a kind is not in sync: a reason in CamelCase and a message; both
// are empty if it is.
func (k *kindSync) problem(kind Kind) (reason, message string) {
	switch {
	case k.listError != nil && kind == Server:
		return ReasonNotifyFailed, fmt.Sprintf("%s: the scheduler was not notified of the Servers: %s", kind, conditionMessage(k.listError))
	case k.listError != nil:
		return ReasonListFailed, fmt.Sprintf("%s: the scheduler's objects could not be listed: %s", kind, conditionMessage(k.listError))
	case k.streamError != nil:
		return ReasonSubscriptionFailed, fmt.Sprintf("%s: the stream of status events ended: %s", kind, conditionMessage(k.streamError))
	case !k.requested:
		return ReasonWaitingForScheduler, string(kind) + ": the scheduler has not requested the objects yet, because it waits for the replicas of Servers after its start"
	case !k.resynced:
		return ReasonSyncing, string(kind) + ": the objects are being compared with those of the scheduler"
	}
	return "", ""
}
