package controllers

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// afterResolve writes the changes of pinned configurations, and returns the error of
// that, or else err, the error of resolving an object's input, as the reconciler reports
// it.
func (s *shared) afterResolve(ctx context.Context, pins inputs.Pins, err error) error {
	if err := s.writePins(ctx, pins); err != nil {
		return err
	}
	if _, is := errors.AsType[*inputs.ConfigNotFoundError](err); is {
		return &reconciler.MissingInputError{Err: err}
	}
	return err
}

// writePins writes the changes of pinned configurations.
func (s *shared) writePins(ctx context.Context, pins inputs.Pins) error {
	if pin := pins.Create; pin != nil {
		if err := s.client.Create(ctx, pin, client.FieldOwner(inputs.FieldManager)); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("pin the configuration in ControllerRevision %s/%s: %w", pin.Namespace, pin.Name, err)
		}
	}
	for i := range pins.Delete {
		if err := s.client.Delete(ctx, &pins.Delete[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s: %w", pins.Delete[i].Namespace, pins.Delete[i].Name, err)
		}
	}
	return nil
}
