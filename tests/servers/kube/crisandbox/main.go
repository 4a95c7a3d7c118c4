// crisandbox speaks CRI to a container runtime as a kubelet does, for what the tests need of it: pod sandboxes.
//
//	crisandbox SOCKET run CONFIG     CONFIG is a PodSandboxConfig as JSON; prints the sandbox's id
//	crisandbox SOCKET stop ID        StopPodSandbox
//	crisandbox SOCKET remove ID      RemovePodSandbox
//	crisandbox SOCKET status ID      prints the PodSandboxStatus as JSON
//	crisandbox SOCKET ready          prints the runtime's conditions as JSON
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: crisandbox SOCKET run|stop|remove|status|ready [ARGUMENT]")
	}
	connection, err := grpc.NewClient("unix://"+args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	runtime := cri.NewRuntimeServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	verb, argument := args[1], ""
	if len(args) > 2 {
		argument = args[2]
	}
	switch verb {
	case "run":
		config := &cri.PodSandboxConfig{}
		if err := json.Unmarshal([]byte(argument), config); err != nil {
			return err
		}
		answer, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
		if err != nil {
			return err
		}
		fmt.Println(answer.PodSandboxId)
		return nil
	case "stop":
		_, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: argument})
		return err
	case "remove":
		_, err := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: argument})
		return err
	case "status":
		answer, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: argument})
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(answer.Status)
	case "ready":
		answer, err := runtime.Status(ctx, &cri.StatusRequest{})
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(answer.Status.Conditions)
	}
	return fmt.Errorf("no verb %q", verb)
}
