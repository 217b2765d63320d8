package main

import (
	"fmt"
	"math"
	"net"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// raw is a codec that leaves messages as bytes: the few fields that matter are read and written by number.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = raw{}

func serveGRPC(e *engine, listener net.Listener) error {
	calls := func(_ any, stream grpc.ServerStream) error {
		name, _ := grpc.MethodFromServerStream(stream)
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		answer, err := e.call(path.Base(name), request)
		if err != nil {
			return err
		}
		return stream.SendMsg(&answer)
	}
	return grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(calls)).Serve(listener)
}

// call carries out one method of the engine; the field numbers are those of the worker's engine.proto.
func (e *engine) call(name string, request []byte) ([]byte, error) {
	switch name {
	case "PollJobs":
		var jobs []byte
		claimed := e.claim(int(integer(request, 3)))
		end := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(time.Now().Add(lease).Unix()))
		for _, number := range claimed {
			job := text(nil, 1, fmt.Sprintf("job-%d", number))
			job = text(job, 2, "noop")
			job = text(job, 3, fmt.Sprintf("instance-%d", number))
			job = text(job, 5, fmt.Sprintf("step-%d", number))
			job = message(job, 7, variables(number))
			job = message(job, 8, end)
			jobs = message(jobs, 1, job)
		}
		return jobs, nil
	case "CompleteJob", "FailJob":
		var said structpb.Struct
		if name == "CompleteJob" {
			if err := proto.Unmarshal([]byte(bytesOf(request, 3)), &said); err != nil {
				return nil, status.Error(codes.InvalidArgument, err.Error())
			}
		}
		if !e.end(bytesOf(request, 1), name == "FailJob", said.Fields["started"].GetNumberValue()) {
			return nil, status.Error(codes.Internal, "job not found")
		}
		return nil, nil
	}
	return nil, status.Error(codes.Unimplemented, name)
}

// variables is the Struct {"n": …, "name": "Ada"}.
func variables(n int) []byte {
	entry := func(key string, value []byte) []byte { return message(text(nil, 1, key), 2, value) }
	fields := message(nil, 1, entry("n", number(float64(n))))
	return message(fields, 1, entry("name", text(nil, 3, "Ada")))
}

// number is a Value.
func number(value float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), math.Float64bits(value))
}

func message(to []byte, number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), content)
}

func text(to []byte, number protowire.Number, content string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), content)
}

// field returns what follows the tag of a message's first field with this number.
func field(content []byte, wanted protowire.Number) []byte {
	for len(content) > 0 {
		number, kind, length := protowire.ConsumeTag(content)
		if length < 0 {
			return nil
		}
		if content = content[length:]; number == wanted {
			return content
		}
		if length = protowire.ConsumeFieldValue(number, kind, content); length < 0 {
			return nil
		}
		content = content[length:]
	}
	return nil
}

func integer(content []byte, number protowire.Number) uint64 {
	value, _ := protowire.ConsumeVarint(field(content, number))
	return value
}

func bytesOf(content []byte, number protowire.Number) string {
	value, _ := protowire.ConsumeBytes(field(content, number))
	return string(value)
}
