package core

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// ParseConfChange parses the data of an entry that changes the group.
func ParseConfChange(b []byte) (*raftpb.ConfChangeV2, error) {
	cc := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(b, cc); err != nil {
		return nil, fmt.Errorf("change of the group: %w", err)
	}
	return cc, nil
}

// EncodeMessage encodes a message for another node.
func EncodeMessage(m *raftpb.Message) ([]byte, error) { return proto.Marshal(m) }

// DecodeMessage decodes what a node sent, and lets pass what raft may be given: it trusts its messages.
func DecodeMessage(b []byte, from, to uint64) (*raftpb.Message, error) {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if err := check(m, from, to); err != nil {
		return nil, fmt.Errorf("message %v: %w", m.GetType(), err)
	}
	return m, nil
}

func check(m *raftpb.Message, from, to uint64) error {
	if m.GetFrom() != from {
		return fmt.Errorf("from is %016x, want %016x", m.GetFrom(), from)
	}
	if m.GetTo() != to {
		return fmt.Errorf("to is %016x, want %016x", m.GetTo(), to)
	}
	if len(m.Responses) > 0 {
		return fmt.Errorf("responses: %d, want none", len(m.Responses))
	}
	switch m.GetType() {
	case raftpb.MessageType_MsgApp, raftpb.MessageType_MsgAppResp, raftpb.MessageType_MsgVote, raftpb.MessageType_MsgVoteResp,
		raftpb.MessageType_MsgPreVote, raftpb.MessageType_MsgPreVoteResp, raftpb.MessageType_MsgHeartbeat,
		raftpb.MessageType_MsgHeartbeatResp, raftpb.MessageType_MsgTimeoutNow:
		if m.GetSnapshot().GetMetadata().GetIndex() != 0 {
			return fmt.Errorf("it has a snapshot")
		}
	case raftpb.MessageType_MsgSnap:
		if m.GetSnapshot().GetMetadata().GetIndex() == 0 || m.GetSnapshot().GetMetadata().GetConfState() == nil {
			return fmt.Errorf("it has no snapshot")
		}
		if _, err := DecodeMembers(m.GetSnapshot().GetData()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no node sends that")
	}
	if m.GetTerm() == 0 {
		return fmt.Errorf("term is 0")
	}
	heartbeat := m.GetType() == raftpb.MessageType_MsgHeartbeat || m.GetType() == raftpb.MessageType_MsgHeartbeatResp
	if n := len(m.GetContext()); heartbeat && n != 0 && n != 8 {
		return fmt.Errorf("a context of %d bytes, want none or 8", n)
	}
	if len(m.Entries) > 0 && m.GetType() != raftpb.MessageType_MsgApp {
		return fmt.Errorf("it has entries")
	}
	index, term := m.GetIndex(), m.GetLogTerm()
	for i, e := range m.Entries {
		if index++; e.GetIndex() != index || index == 0 {
			return fmt.Errorf("entries[%d].index is %d, want %d", i, e.GetIndex(), index)
		}
		if e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("entries[%d].term is %d, want %d to %d", i, e.GetTerm(), term, m.GetTerm())
		}
		term = e.GetTerm()
		switch e.GetType() {
		case raftpb.EntryType_EntryNormal:
		case raftpb.EntryType_EntryConfChangeV2:
			cc, err := ParseConfChange(e.Data)
			if err != nil {
				return fmt.Errorf("entries[%d]: %w", i, err)
			}
			if len(cc.Context) > 0 {
				if _, err := DecodeMembers(cc.Context); err != nil {
					return fmt.Errorf("entries[%d]: %w", i, err)
				}
			}
		default:
			return fmt.Errorf("entries[%d].type is %v", i, e.GetType())
		}
	}
	return nil
}

// Silence is a logger for raft that says nothing, and panics as the core expects it.
type Silence struct{}

func (Silence) Debug(...any)            {}
func (Silence) Debugf(string, ...any)   {}
func (Silence) Error(...any)            {}
func (Silence) Errorf(string, ...any)   {}
func (Silence) Info(...any)             {}
func (Silence) Infof(string, ...any)    {}
func (Silence) Warning(...any)          {}
func (Silence) Warningf(string, ...any) {}
func (Silence) Fatal(v ...any)          { panic(fault(fmt.Sprint(v...))) }
func (Silence) Fatalf(f string, v ...any) {
	panic(fault(fmt.Sprintf(f, v...)))
}
func (Silence) Panic(v ...any)            { panic(fault(fmt.Sprint(v...))) }
func (Silence) Panicf(f string, v ...any) { panic(fault(fmt.Sprintf(f, v...))) }
