// Watches the typed bytes for the console server's own commands: Ctrl-] and then
//   0..9      the partition with this number
//   a name, Enter   the partition with this name
//   ?         a list
//   Ctrl-]    the byte itself
#pragma once
#include <string_view>

#include <horos/rt/text.hpp>

namespace horos::console {

struct KeyAction {
    enum class Kind : abi::u8 { none, pass, list, by_number, by_name } kind = Kind::none;
    char byte = 0;              // pass
    abi::u32 number = 0;        // by_number
    std::string_view name = {}; // by_name; valid until the next key
};

class KeyFilter {
public:
    static constexpr char escape = 0x1d; // Ctrl-]

    KeyAction key(char c) {
        if (state_ == State::plain) {
            if (c != escape) {
                return {.kind = KeyAction::Kind::pass, .byte = c};
            }
            state_ = State::command;
            name_.clear();
            return {};
        }
        return state_ == State::command ? first(c) : more(c);
    }

private:
    enum class State : abi::u8 { plain, command, name };

    KeyAction first(char c) {
        state_ = State::plain;
        if (c == escape) {
            return {.kind = KeyAction::Kind::pass, .byte = c};
        }
        if (c == '?') {
            return {.kind = KeyAction::Kind::list};
        }
        if (c >= '0' && c <= '9') {
            return {.kind = KeyAction::Kind::by_number, .number = static_cast<abi::u32>(c - '0')};
        }
        state_ = State::name;
        return more(c);
    }

    KeyAction more(char c) {
        if (c == '\r' || c == '\n') {
            state_ = State::plain;
            return {.kind = KeyAction::Kind::by_name, .name = name_.view()};
        }
        if (c == escape) {
            state_ = State::plain;
        } else if ((c == 0x7f || c == '\b') && name_.size() != 0) {
            name_.clear();
        } else {
            name_.push(c);
        }
        return {};
    }

    State state_ = State::plain;
    rt::Text<32> name_;
};

} // namespace horos::console
