package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"secureapi/handler/customhandler"
)

// The second part that this test binary can play: a handler made of the
// project's own protocol package. It closes the circle: what the stand-in sends
// is what the package accepts, and what it answers completes the invocation.

const realHandlerVariable = "TEST_REAL_HANDLER"

func runRealHandler() int {
	port, err := customhandler.Port(os.Getenv(customhandler.PortVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	observe := func(_ context.Context, function string, err error) {
		if errors.Is(err, customhandler.ErrNotInvocation) || errors.Is(err, customhandler.ErrBody) {
			fmt.Println("refused:", function, err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", customhandler.Ready)
	mux.Handle("/QueueFn", customhandler.Queue("QueueFn", "msg", observe, func(_ context.Context, in customhandler.Invocation) error {
		fmt.Printf("message %q count %d\n", in.Message, in.DequeueCount)
		if in.Message == "fail once" && in.DequeueCount == 1 {
			return errors.New("once")
		}
		return nil
	}))
	mux.Handle("/Tick", customhandler.Timer("Tick", "myTimer", observe, func(_ context.Context, in customhandler.TimerInvocation) error {
		fmt.Printf("tick, past due %v\n", in.IsPastDue)
		return nil
	}))
	exit, err := customhandler.Serve(context.Background(), port, mux, time.Second, time.Now)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return exit
}

func startRealHandler(t *testing.T, s *storage, queue string) *lab {
	t.Helper()
	return startLab(t, labOptions{
		functions: map[string]string{"QueueFn": fmt.Sprintf(queueFunction, queue), "Tick": strings.Replace(timerFunction, "%s", "0 0 0 1 1 *", 1)},
		client:    s.client,
		env: append([]string{
			probeVariable + "=", realHandlerVariable + "=1",
			"AzureFunctionsJobHost__extensions__queues__messageEncoding=none",
			"AzureFunctionsJobHost__extensions__queues__visibilityTimeout=00:00:01",
			"AzureFunctionsJobHost__extensions__queues__maxPollingInterval=00:00:00.2",
		}, s.env...),
	})
}
