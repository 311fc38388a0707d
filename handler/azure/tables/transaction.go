package tables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/azure"
	"secureapi/handler/rowstore"
)

const transaction = "writing a transaction"

// errAnswer: the service took the transaction or not, its answer does not say.
var errAnswer = errors.New("unreadable transaction answer")

// transact submits one entity group transaction
// (https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions).
// The SDK drops the entity tags and the position of a failure, so the answer
// is captured and read again.
func (s *Store) transact(ctx context.Context, mutations []rowstore.Mutation, entities [][]byte) ([]string, error) {
	actions := make([]aztables.TransactionAction, len(mutations))
	for i, m := range mutations {
		actions[i] = aztables.TransactionAction{ActionType: actionType(m.Action), Entity: entities[i]}
		if m.Action != rowstore.Insert {
			tag := azcore.ETag(m.Row.Version)
			actions[i].IfMatch = &tag
		}
	}
	var answer *http.Response
	err := s.submit(policy.WithCaptureResponse(ctx, &answer), actions)
	if answer == nil || answer.StatusCode != http.StatusAccepted {
		if err == nil {
			err = errAnswer
		}
		return nil, failure(transaction, err)
	}
	payload, err := runtime.Payload(answer)
	if err != nil {
		return nil, failure(transaction, err)
	}
	return readAnswer(payload, mutations)
}

// submit contains a panic of the SDK, which slices an empty or cut-off answer
// without looking at its length.
func (s *Store) submit(ctx context.Context, actions []aztables.TransactionAction) (err error) {
	defer func() {
		if recover() != nil {
			err = errAnswer
		}
	}()
	_, err = s.client.SubmitTransaction(ctx, actions, nil)
	return err
}

func actionType(a rowstore.Action) aztables.TransactionType {
	switch a {
	case rowstore.Insert:
		return aztables.TransactionTypeAdd
	case rowstore.Replace:
		return aztables.TransactionTypeUpdateReplace
	case rowstore.Merge:
		return aztables.TransactionTypeUpdateMerge
	default:
		return aztables.TransactionTypeDelete
	}
}

// readAnswer gives the new versions, or the failure of the one mutation that
// the answer tells of.
func readAnswer(payload []byte, mutations []rowstore.Mutation) ([]string, error) {
	parts := splitAnswer(payload, len(mutations))
	for _, part := range parts {
		if part.status >= http.StatusMultipleChoices {
			return nil, partFailure(part, len(mutations))
		}
	}
	if len(parts) != len(mutations) {
		return nil, fmt.Errorf("%w: %s: %w", rowstore.ErrUnavailable, transaction, errAnswer)
	}
	versions := make([]string, len(parts))
	for i, part := range parts {
		if mutations[i].Action == rowstore.Delete {
			continue
		}
		if part.tag == "" {
			return nil, fmt.Errorf("%w: %s: %w", rowstore.ErrUnavailable, transaction, errAnswer)
		}
		versions[i] = part.tag
	}
	return versions, nil
}

// answerPart is the answer to one mutation.
type answerPart struct {
	status int
	tag    string
	body   []byte
}

// splitAnswer finds the embedded HTTP responses. Successful ones have no body
// (the SDK asks for return-no-content) and an error's body is JSON, so a line
// that begins like a response is one.
func splitAnswer(payload []byte, expected int) []answerPart {
	const statusLine = "HTTP/1.1 "
	parts := make([]answerPart, 0, expected)
	header := false
	for offset := 0; offset < len(payload); {
		rest := payload[offset:]
		line := rest
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			line = rest[:end+1]
		}
		offset += len(line)
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case bytes.HasPrefix(line, []byte(statusLine)):
			parts = append(parts, answerPart{status: parseStatus(line[len(statusLine):])})
			header = true
		case header && len(line) == 0:
			header = false
			parts[len(parts)-1].body = payload[offset:]
		case header:
			name, value, _ := bytes.Cut(line, []byte(":"))
			if bytes.EqualFold(name, []byte("ETag")) {
				parts[len(parts)-1].tag = string(bytes.TrimSpace(value))
			}
		}
	}
	return parts
}

// parseStatus reads the three digits of a status; anything else is a failure.
func parseStatus(text []byte) int {
	digits, _, _ := bytes.Cut(text, []byte(" "))
	status, err := strconv.Atoi(string(digits))
	if err != nil || status < http.StatusOK || status > 599 {
		return http.StatusBadGateway
	}
	return status
}

// partFailure reads an error document, whose message begins with the position
// of the mutation: {"odata.error":{"code":"…","message":{"value":"1:…"}}}.
func partFailure(part answerPart, mutations int) error {
	var document struct {
		Error struct {
			Code    string `json:"code"`
			Message struct {
				Value string `json:"value"`
			} `json:"message"`
		} `json:"odata.error"`
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(part.body))
	if err := json.UnmarshalDecode(decoder, &document); err != nil {
		return fmt.Errorf("%w: %s: %w: %w", rowstore.ErrUnavailable, transaction, errAnswer, azure.NewFault(part.status, ""))
	}
	err := classify(transaction, azure.NewFault(part.status, document.Error.Code))
	position, _, found := strings.Cut(document.Error.Message.Value, ":")
	index, parseErr := strconv.Atoi(position)
	if !found || parseErr != nil || index < 0 || index >= mutations {
		index = -1
	}
	return mutationFailure(index, err)
}
