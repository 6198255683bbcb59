package controllers

import (
	"context"
	"errors"
	"io"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

var (
	services   = schema.GroupResource{Resource: "services"}
	conflicts  = &composition.ObjectError{Err: apierrors.NewConflict(services, "a", errors.New("modified"))}
	denied     = &composition.ObjectError{Err: apierrors.NewForbidden(services, "b", errors.New("quota"))}
	throttled  = &composition.ObjectError{Err: apierrors.NewTooManyRequests("slow down", 1)}
	missing    = &configNotFoundError{kind: "SeldonConfig", field: "spec.seldonConfig", namespace: "n", name: "c"}
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
		"a cache that is behind":      {errStale, conflict},
		"a conflict and a rejection":  {errors.Join(conflicts, denied), rejected},
		"a conflict and an overload":  {errors.Join(conflicts, throttled), transient},
		"an overload and a rejection": {errors.Join(throttled, denied), rejected},
		"a rejection":                 {denied, rejected},
		"invalid":                     {apierrors.NewInvalid(schema.GroupKind{}, "a", nil), rejected},
		"429":                         {throttled, transient},
		"500":                         {apierrors.NewInternalError(errUnknown), transient},
		"503":                         {apierrors.NewServiceUnavailable("no etcd"), transient},
		"504":                         {apierrors.NewTimeoutError("slow", 1), transient},
		"504 of a server":             {apierrors.NewServerTimeout(services, "get", 1), transient},
		"no connection":               {&composition.ObjectError{Err: &url.Error{Op: "Patch", Err: io.EOF}}, transient},
		"an expired context":          {context.DeadlineExceeded, transient},
		"the end of the operator":     {context.Canceled, transient},
		"a configuration not there":   {missing, missingConfig},
		"an invalid layer":            {&composition.RenderError{Err: errUnknown}, invalidInput},
		"an invalid patch":            {&composition.RenderError{Err: &composition.PatchError{Err: errUnknown}}, invalidInput},
		"anything else":               {errUnknown, rejected},
	} {
		if got := classify(test.err); got != test.want {
			t.Errorf("%s: class %d, want %d", name, got, test.want)
		}
	}
}

// Status reports the input that is invalid, and the request that failed is retried.
func TestRetryClass(t *testing.T) {
	invalid := &composition.RenderError{Err: errUnknown}
	for _, test := range []struct {
		err             error
		reported, retry errorClass
	}{
		{nil, noError, noError},
		{invalid, invalidInput, invalidInput},
		{errors.Join(invalid, nil), invalidInput, invalidInput},
		{errors.Join(missing, throttled), missingConfig, transient},
		{errors.Join(errors.Join(invalid, conflicts), denied), invalidInput, rejected},
		{errors.Join(conflicts, throttled), transient, transient},
	} {
		if reported, retry := classify(test.err), retryClass(test.err); reported != test.reported || retry != test.retry {
			t.Errorf("%v: reported as %d, retried as %d; want %d, %d", test.err, reported, retry, test.reported, test.retry)
		}
	}
}

// What each class of errors says, by how long it lasts, and what kstatus, on which
// Flux and Helm rely, makes of it.
func TestFailureConditions(t *testing.T) {
	invalid := &composition.RenderError{Err: errUnknown}
	patch := &composition.RenderError{Err: &composition.PatchError{Err: errUnknown}}
	const unchanged = "Ready True Ready"
	for name, test := range map[string]struct {
		err            error
		age            time.Duration
		fresh, stalled bool
		want           string // of Ready, and of Reconciling or Stalled
		kstatus        status.Status
	}{
		"conflict":                                {err: conflicts, want: unchanged, kstatus: status.InProgressStatus},
		"conflict that lasts":                     {err: conflicts, age: persistsAfter, want: "Ready False Conflict, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"stale cache that lasts":                  {err: errStale, age: persistsAfter, want: "Ready False Conflict, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"overload":                                {err: throttled, age: persistsAfter - 1, want: unchanged, kstatus: status.InProgressStatus},
		"overload that lasts":                     {err: throttled, age: persistsAfter, want: "Ready False TooManyRequests, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"overload at the first reconcile":         {err: throttled, fresh: true, want: "", kstatus: status.CurrentStatus},
		"overload at the first reconcile, longer": {err: throttled, age: grace, fresh: true, want: "Ready False Progressing, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"rejection":                               {err: denied, want: "Ready False Forbidden, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"rejection that lasts":                    {err: denied, age: time.Hour, want: "Ready False Forbidden, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"unknown":                                 {err: errUnknown, want: "Ready False ApplyFailed, Reconciling True ProgressingWithRetry", kstatus: status.InProgressStatus},
		"no configuration":                        {err: missing, want: "Ready False ConfigNotFound, Reconciling True ConfigNotFound", kstatus: status.InProgressStatus},
		"no configuration for 5 s":                {err: missing, age: 5 * time.Second, fresh: true, want: "Ready False ConfigNotFound, Reconciling True ConfigNotFound", kstatus: status.InProgressStatus},
		"no configuration for long":               {err: missing, age: stalledAfter, want: "Ready False ConfigNotFound, Stalled True ConfigNotFound", kstatus: status.FailedStatus},
		"no configuration, after a restart":       {err: missing, stalled: true, want: "Ready False ConfigNotFound, Stalled True ConfigNotFound", kstatus: status.FailedStatus},
		"invalid layer":                           {err: invalid, want: "Ready False RenderFailed, Stalled True RenderFailed", kstatus: status.FailedStatus},
		"invalid patch":                           {err: patch, want: "Ready False InvalidPatch, Stalled True InvalidPatch", kstatus: status.FailedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			object := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			if !test.fresh {
				object.Generation = 1
				setConditions(object, []verdict{isTrue(v1alpha1.ConditionReady, reasonReady, "")})
				object.Status.ObservedGeneration, object.Generation = 1, 2
			}
			if test.stalled {
				setConditions(object, []verdict{isFalse(v1alpha1.ConditionReady, reasonConfigNotFound, ""), isTrue(conditionStalled, reasonConfigNotFound, "")})
			}
			setFailure(object, classify(test.err), test.err, test.age)
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
			if observed := object.Status.ObservedGeneration == 2; observed != (got != unchanged && got != "" && !(test.fresh && classify(test.err) == transient)) {
				t.Errorf("observedGeneration is %d beside %q", object.Status.ObservedGeneration, got)
			}
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				t.Fatal(err)
			}
			result, err := status.Compute(&unstructured.Unstructured{Object: content})
			if err != nil || result.Status != test.kstatus {
				t.Errorf("kstatus says %v, %v; want %s", result, err, test.kstatus)
			}
		})
	}
}

// finishing is an environment over an API server that counts writes of status.
func finishing(t *testing.T, object client.Object) (*environment, *int, *events.FakeRecorder) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	writes, recorder := 0, events.NewFakeRecorder(100)
	to := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).WithStatusSubresource(object).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, to client.Client, name string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
			writes++
			return to.SubResource(name).Patch(ctx, object, patch, options...)
		},
	}).Build()
	env := environment{client: to, events: recorder, meters: newMeters(to, prometheus.NewRegistry())}.forOneKind()
	return &env, &writes, recorder
}

// Errors that pass are neither in status nor in Events nor returned, which would log
// them, before they have lasted; then they are, once.
func TestFinishReportsWhatLasts(t *testing.T) {
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
				stored := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "seldon", UID: "1", Generation: 1}}
				env, writes, recorder := finishing(t, stored)
				try := func(err error) (reconcile.Result, error) {
					t.Helper()
					object := &v1alpha1.SeldonRuntime{}
					if err := env.client.Get(t.Context(), client.ObjectKeyFromObject(stored), object); err != nil {
						t.Fatal(err)
					}
					before := object.DeepCopy()
					if err == nil {
						setConditions(object, []verdict{isTrue(v1alpha1.ConditionReady, reasonReady, "")})
					}
					return env.finish(t.Context(), before, object, reconcile.Result{}, err)
				}
				if _, err := try(nil); err != nil || *writes != 1 {
					t.Fatalf("%d writes, %v", *writes, err)
				}
				<-recorder.Events // it is ready
				*writes = 0
				began, tries, last := time.Now(), 0, time.Duration(0)
				for time.Since(began) < persistsAfter {
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
				counted := 0.0
				registry := prometheus.NewRegistry()
				registry.MustRegister(env.meters.conflicts)
				families, err := registry.Gather()
				if err != nil {
					t.Fatal(err)
				}
				if len(families) > 0 {
					counted = families[0].GetMetric()[0].GetCounter().GetValue()
				}
				if (counted == float64(tries+2)) != test.counted {
					t.Errorf("%v conflicts are counted in %d tries", counted, tries+2)
				}
				if _, err := try(nil); err != nil || len(env.failures.objects) != 0 {
					t.Errorf("%d failures are remembered after a success, %v", len(env.failures.objects), err)
				}
			})
		})
	}
}

// A missing configuration is looked at again when it stalls the object.
func TestFinishStallsWithoutConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		object := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "seldon", UID: "1", Generation: 1}}
		env, _, _ := finishing(t, object)
		for _, each := range []struct {
			wait    time.Duration
			stalled bool
		}{{0, false}, {5 * time.Second, false}, {stalledAfter - 5*time.Second, true}} {
			time.Sleep(each.wait)
			result, err := env.finish(t.Context(), object.DeepCopy(), object, reconcile.Result{}, missing)
			if err != nil || isStalled(object, reasonConfigNotFound) != each.stalled || (result.RequeueAfter == 0) != each.stalled {
				t.Errorf("after %s more: %v, %v, stalled %t", each.wait, result, err, isStalled(object, reasonConfigNotFound))
			}
		}
		object.Generation++
		if _, err := env.finish(t.Context(), object.DeepCopy(), object, reconcile.Result{}, missing); err != nil || find(object.Status.Conditions, conditionStalled) != nil {
			t.Errorf("another configuration that is missing stalls at once: %v", err)
		}
	})
}
