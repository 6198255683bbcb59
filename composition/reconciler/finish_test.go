package reconciler

import (
	"context"
	"errors"
	"io"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

var (
	services   = schema.GroupResource{Resource: "services"}
	conflicts  = &composition.ObjectError{Err: apierrors.NewConflict(services, "a", errors.New("modified"))}
	denied     = &composition.ObjectError{Err: apierrors.NewForbidden(services, "b", errors.New("quota"))}
	throttled  = &composition.ObjectError{Err: apierrors.NewTooManyRequests("slow down", 1)}
	missing    = &MissingInputError{Err: errors.New("there is no config c")}
	errUnknown = errors.New("x")
)

func TestClassify(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want errorClass
	}{
		"nothing":                     {nil, noError},
		"a conflict":                  {conflicts, conflict},
		"conflicts":                   {errors.Join(conflicts, conflicts), conflict},
		"a stale cache":               {errStale, conflict},
		"a conflict and a rejection":  {errors.Join(conflicts, denied), rejected},
		"a conflict and an overload":  {errors.Join(conflicts, throttled), transient},
		"an overload and a rejection": {errors.Join(throttled, denied), rejected},
		"a rejection":                 {denied, rejected},
		"invalid":                     {apierrors.NewInvalid(schema.GroupKind{}, "a", nil), rejected},
		"429":                         {throttled, transient},
		"401":                         {apierrors.NewUnauthorized("an expired token"), transient},
		"500":                         {apierrors.NewInternalError(errUnknown), transient},
		"503":                         {apierrors.NewServiceUnavailable("no etcd"), transient},
		"504":                         {apierrors.NewTimeoutError("slow", 1), transient},
		"504 of a server":             {apierrors.NewServerTimeout(services, "get", 1), transient},
		"no connection":               {&composition.ObjectError{Err: &url.Error{Op: "Patch", Err: io.EOF}}, transient},
		"an expired context":          {context.DeadlineExceeded, transient},
		"a canceled context":          {context.Canceled, transient},
		"a missing input":             {missing, missingInput},
		"an invalid layer":            {&composition.RenderError{Err: errUnknown}, invalidInput},
		"an invalid patch":            {&composition.RenderError{Err: &composition.PatchError{Err: errUnknown}}, invalidInput},
		"anything else":               {errUnknown, rejected},
	} {
		if got := classify(test.err); got != test.want {
			t.Errorf("%s: class %d, want %d", name, got, test.want)
		}
	}
}

// Status reports the invalid input, and the failed request is retried.
func TestRetryClass(t *testing.T) {
	invalid := &composition.RenderError{Err: errUnknown}
	for _, test := range []struct {
		err             error
		reported, retry errorClass
	}{
		{nil, noError, noError},
		{invalid, invalidInput, invalidInput},
		{errors.Join(invalid, nil), invalidInput, invalidInput},
		{errors.Join(missing, throttled), missingInput, transient},
		{errors.Join(errors.Join(invalid, conflicts), denied), invalidInput, rejected},
		{errors.Join(conflicts, throttled), transient, transient},
	} {
		if reported, retry := classify(test.err), retryClass(test.err); reported != test.reported || retry != test.retry {
			t.Errorf("%v: reported as %d, retried as %d; want %d, %d", test.err, reported, retry, test.reported, test.retry)
		}
	}
}

// The conditions for each class of errors, by how long it lasts, and the status that
// kstatus, which Flux and Helm use, computes from them.
func TestErrorConditions(t *testing.T) {
	invalid := &composition.RenderError{Err: errUnknown}
	patch := &composition.RenderError{Err: &composition.PatchError{Err: errUnknown}}
	const unchanged = "Ready True Ready"
	for name, test := range map[string]struct {
		err            error
		age            time.Duration
		isNew, stalled bool
		want           string // of Ready, and of Reconciling or Stalled
		kstatus        status.Status
	}{
		"conflict":                                {err: conflicts, want: unchanged, kstatus: status.InProgressStatus},
		"conflict that lasts":                     {err: conflicts, age: reportAfter, want: "Ready False Conflict, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"stale cache that lasts":                  {err: errStale, age: reportAfter, want: "Ready False Conflict, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"overload":                                {err: throttled, age: reportAfter - 1, want: unchanged, kstatus: status.InProgressStatus},
		"overload that lasts":                     {err: throttled, age: reportAfter, want: "Ready False TooManyRequests, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"overload at the first reconcile":         {err: throttled, isNew: true, want: "", kstatus: status.CurrentStatus},
		"overload at the first reconcile, longer": {err: throttled, age: firstReportAfter, isNew: true, want: "Ready False Progressing, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"rejection":                               {err: denied, want: "Ready False Forbidden, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"rejection that lasts":                    {err: denied, age: time.Hour, want: "Ready False Forbidden, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"unknown":                                 {err: errUnknown, want: "Ready False ApplyFailed, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"missing input":                           {err: missing, want: "Ready False ConfigNotFound, Reconciling True ConfigNotFound", kstatus: status.InProgressStatus},
		"missing input for 5 s":                   {err: missing, age: 5 * time.Second, isNew: true, want: "Ready False ConfigNotFound, Reconciling True ConfigNotFound", kstatus: status.InProgressStatus},
		"missing input for long":                  {err: missing, age: stalledAfter, want: "Ready False ConfigNotFound, Stalled True ConfigNotFound", kstatus: status.FailedStatus},
		"missing input, after a restart":          {err: missing, stalled: true, want: "Ready False ConfigNotFound, Stalled True ConfigNotFound", kstatus: status.FailedStatus},
		"invalid layer":                           {err: invalid, want: "Ready False RenderFailed, Stalled True RenderFailed", kstatus: status.FailedStatus},
		"invalid patch":                           {err: patch, want: "Ready False InvalidPatch, Stalled True InvalidPatch", kstatus: status.FailedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			object := &widget{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			if !test.isNew {
				object.Generation = 1
				SetConditions(object, []metav1.Condition{True(ConditionReady, ReasonReady, "")})
				object.Status.ObservedGeneration, object.Generation = 1, 2
			}
			if test.stalled {
				SetConditions(object, []metav1.Condition{False(ConditionReady, ReasonConfigNotFound, ""), True(ConditionStalled, ReasonConfigNotFound, "")})
			}
			setErrorConditions(object, classify(test.err), test.err, test.age)
			got := ""
			for i, condition := range object.Status.Conditions {
				if i > 0 {
					got += ", "
				}
				got += condition.Type + " " + string(condition.Status) + " " + condition.Reason
			}
			if got != test.want {
				t.Errorf("conditions are %q, want %q", got, test.want)
			}
			if observed := object.Status.ObservedGeneration == 2; observed != (got != unchanged && got != "" && !(test.isNew && classify(test.err) == transient)) {
				t.Errorf("observedGeneration is %d beside %q", object.Status.ObservedGeneration, got)
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				t.Fatal(err)
			}
			result, err := status.Compute(&unstructured.Unstructured{Object: content})
			if err != nil || result.Status != test.kstatus {
				t.Errorf("kstatus computes %v, %v; want %s", result, err, test.kstatus)
			}
		})
	}
}

// newTestBase returns a Base over an API server that counts writes of status.
func newTestBase(t *testing.T, object client.Object) (*Base, *int, *events.FakeRecorder) {
	t.Helper()
	writes, recorder := 0, events.NewFakeRecorder(100)
	c := fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(object).WithStatusSubresource(object).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, name string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			writes++
			return c.SubResource(name).Patch(ctx, object, patch, options...)
		},
	}).Build()
	return NewBase(widgetKind, Options{Client: c, Recorder: recorder, FieldManager: "test", Metrics: &countedConflicts{}}), &writes, recorder
}

// countedConflicts counts conflicts only.
type countedConflicts struct {
	discardMetrics
	conflicts int
}

func (c *countedConflicts) ConflictRetried(string) { c.conflicts++ }

// Conflicts and transient errors are neither in status nor in Events nor returned, which
// would log them, for 30 seconds; then they are reported once.
func TestFinishReportsLastingErrors(t *testing.T) {
	for name, test := range map[string]struct {
		err      error
		reason   string
		returned bool // to controller-runtime, which logs it
		counted  bool
	}{
		"conflicts":     {err: conflicts, reason: "Conflict", counted: true},
		"a stale cache": {err: errStale, reason: "Conflict", counted: true},
		"an overload":   {err: throttled, reason: "TooManyRequests", returned: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stored := &widget{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "seldon", UID: "1", Generation: 1}}
				base, writes, recorder := newTestBase(t, stored)
				try := func(err error) (reconcile.Result, error) {
					t.Helper()
					object := &widget{}
					if err := base.Client.Get(t.Context(), client.ObjectKeyFromObject(stored), object); err != nil {
						t.Fatal(err)
					}
					before := object.DeepCopy()
					if err == nil {
						SetConditions(object, []metav1.Condition{True(ConditionReady, ReasonReady, "")})
					}
					return base.Finish(t.Context(), before, object, reconcile.Result{}, err)
				}
				if _, err := try(nil); err != nil || *writes != 1 {
					t.Fatalf("%d writes, %v", *writes, err)
				}
				<-recorder.Events // it is ready
				*writes = 0
				began, tries, last := time.Now(), 0, time.Duration(0)
				for time.Since(began) < reportAfter {
					result, err := try(test.err)
					if err != nil || result.RequeueAfter < last || result.RequeueAfter == 0 {
						t.Fatalf("after %s: %v, %v; want a longer and longer backoff", time.Since(began), result, err)
					}
					tries++
					last = result.RequeueAfter
					time.Sleep(result.RequeueAfter)
				}
				if *writes != 0 || len(recorder.Events) != 0 || tries > 20 {
					t.Errorf("%d writes, %d Events in %d tries, want none in a few", *writes, len(recorder.Events), tries)
				}
				for range 2 {
					if _, err := try(test.err); (err != nil) != test.returned {
						t.Errorf("returned %v", err)
					}
				}
				if *writes != 1 || len(recorder.Events) != 1 {
					t.Errorf("%d writes, %d Events, want one of each", *writes, len(recorder.Events))
				}
				counted := base.Metrics.(*countedConflicts).conflicts
				if (counted == tries+2) != test.counted {
					t.Errorf("%v conflicts are counted in %d tries", counted, tries+2)
				}
				if _, err := try(nil); err != nil || len(base.failures.objects) != 0 {
					t.Errorf("%d failures are remembered after a success, %v", len(base.failures.objects), err)
				}
			})
		})
	}
}

// An object with a missing input is reconciled again when that makes it Stalled.
func TestFinishStallsOnMissingInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		object := &widget{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "seldon", UID: "1", Generation: 1}}
		base, _, _ := newTestBase(t, object)
		for _, each := range []struct {
			wait    time.Duration
			stalled bool
		}{{0, false}, {5 * time.Second, false}, {stalledAfter - 5*time.Second, true}} {
			time.Sleep(each.wait)
			result, err := base.Finish(t.Context(), object.DeepCopy(), object, reconcile.Result{}, missing)
			if err != nil || isStalled(object, ReasonConfigNotFound) != each.stalled || (result.RequeueAfter == 0) != each.stalled {
				t.Errorf("after %s more: %v, %v, stalled %t", each.wait, result, err, isStalled(object, ReasonConfigNotFound))
			}
		}
		object.Generation++
		if _, err := base.Finish(t.Context(), object.DeepCopy(), object, reconcile.Result{}, missing); err != nil || meta.FindStatusCondition(object.Status.Conditions, ConditionStalled) != nil {
			t.Errorf("an input of another generation that is missing stalls at once: %v", err)
		}
	})
}
