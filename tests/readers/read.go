// What Go's servers read in a body: encoding/json, whole and from a stream, and mime/multipart as net/http has it.
// A line of JSON in, one out.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

type asked struct {
	Type *string `json:"type"`
	Body []byte  `json:"body"`
}

type request struct {
	Model *string `json:"model"`
}

func models(ask asked) []string {
	found := []string{}
	var whole, first request
	if json.Unmarshal(ask.Body, &whole) == nil && whole.Model != nil {
		found = append(found, *whole.Model)
	}
	if json.NewDecoder(bytes.NewReader(ask.Body)).Decode(&first) == nil && first.Model != nil {
		found = append(found, *first.Model)
	}
	if ask.Type == nil {
		return found
	}
	form, err := http.NewRequest("POST", "/", bytes.NewReader(ask.Body))
	if err != nil {
		return found
	}
	form.Header.Set("Content-Type", *ask.Type)
	if form.ParseMultipartForm(1<<20) == nil && form.MultipartForm != nil {
		found = append(found, form.MultipartForm.Value["model"]...)
		for _, file := range form.MultipartForm.File["model"] {
			if opened, err := file.Open(); err == nil {
				text, _ := io.ReadAll(opened)
				found = append(found, string(text))
			}
		}
	}
	return found
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var ask asked
		if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
			panic(err)
		}
		answer, err := json.Marshal(map[string][]string{"models": models(ask)})
		if err != nil {
			panic(err)
		}
		fmt.Println(string(answer))
	}
}
